//go:build rig && linux

package worker_test

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

func TestConformanceOfOpenCryptoki(t *testing.T) {
	pkcs11test.InOpenCryptoki(t, func(t *testing.T) {
		pkcs11test.Conformance(t, open, pkcs11test.OpenCryptokiOptions(t))
	})
}

func TestConformanceOfNSS(t *testing.T) {
	pkcs11test.Conformance(t, open, pkcs11test.NSSOptions())
}

func TestConformanceThroughP11Kit(t *testing.T) {
	pkcs11test.Conformance(t, open, pkcs11test.P11KitOptions())
}

// PINs of a finished soft token. openCryptoki takes 4 to 8 bytes.
const (
	finishedSO   = "24682468"
	finishedUser = "135791"
)

// softToken is how one of two soft tokens is held: all show the serial 123.
func softToken() pkcs11.Identity {
	return pkcs11.Identity{Serial: "123", SlotDescription: "soft token A"}
}

func softTokens(t *testing.T) pkcs11test.Bay {
	t.Helper()
	return pkcs11test.NewOpenCryptoki(t, "soft token A", "soft token B")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hold(t *testing.T, m pkcs11.Module, id pkcs11.Identity) pkcs11.Token {
	t.Helper()
	token, err := m.Open(t.Context(), id)
	must(t, err)
	return token
}

// finish gives a token from the factory a label and PINs of its own.
func finish(t *testing.T, token pkcs11.Token) {
	t.Helper()
	ctx := t.Context()
	factory, own := pkcs11.NewSOPIN(pkcs11test.FactorySOPIN), pkcs11.NewSOPIN(finishedSO)
	_, err := token.Init(ctx, factory, "示例客车 1")
	must(t, err)
	must(t, token.LoginSO(ctx, factory))
	must(t, token.SetSOPIN(ctx, factory, own))
	must(t, token.Logout(ctx))
	must(t, token.LoginSO(ctx, own))
	must(t, token.InitUserPIN(ctx, pkcs11.NewUserPIN(finishedUser)))
	must(t, token.Logout(ctx))
}

// pkcs11Tool is the witness: another program that asks the same token A.
func pkcs11Tool(t *testing.T, b pkcs11test.Bay, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "pkcs11-tool", append([]string{"--module", b.Path, "--slot", "0"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// holder is one of the two who have a PIN, and what a test needs to know of each.
type holder struct {
	login                      func(context.Context, pkcs11.Token, string) error
	pin                        string
	countLow, finalTry, locked pkcs11.TokenFlags
	saysFinal, saysLocked      string                    // pkcs11-tool's words for the flags
	logInByTool                func(pin string) []string // arguments that have pkcs11-tool log in
}

func holders() map[string]holder {
	return map[string]holder{
		"user": {
			login: func(ctx context.Context, k pkcs11.Token, pin string) error {
				return k.LoginUser(ctx, pkcs11.NewUserPIN(pin))
			},
			pin:      finishedUser,
			countLow: pkcs11.FlagUserPINCountLow, finalTry: pkcs11.FlagUserPINFinalTry, locked: pkcs11.FlagUserPINLocked,
			saysFinal: "final user PIN try", saysLocked: "user PIN locked",
			logInByTool: func(pin string) []string { return []string{"--login", "--pin", pin, "--list-objects"} },
		},
		"SO": {
			login: func(ctx context.Context, k pkcs11.Token, pin string) error {
				return k.LoginSO(ctx, pkcs11.NewSOPIN(pin))
			},
			pin:      finishedSO,
			countLow: pkcs11.FlagSOPINCountLow, finalTry: pkcs11.FlagSOPINFinalTry, locked: pkcs11.FlagSOPINLocked,
			saysFinal: "final SO PIN try", saysLocked: "SO PIN locked",
			logInByTool: func(pin string) []string {
				return []string{"--login", "--login-type", "so", "--so-pin", pin, "--init-pin", "--new-pin", finishedUser}
			},
		},
	}
}

// flags are the three that belong to the holder's PIN.
func (h holder) flags(t *testing.T, token pkcs11.Token) pkcs11.TokenFlags {
	t.Helper()
	info, err := token.Info(t.Context())
	must(t, err)
	return info.Flags & (h.countLow | h.finalTry | h.locked)
}

// toFinalTry spends all tries but one.
func (h holder) toFinalTry(t *testing.T, token pkcs11.Token) {
	t.Helper()
	for _, want := range []pkcs11.TokenFlags{h.countLow, h.finalTry} {
		wants(t, h.login(t.Context(), token, "99999999"), pkcs11.ErrPINIncorrect)
		if got := h.flags(t, token); got != want {
			t.Fatalf("flags are %#x, want %#x", got, want)
		}
	}
}

// TestLastPINTryIsNeverSpent on a token that really counts.
func TestLastPINTryIsNeverSpent(t *testing.T) {
	pkcs11test.InOpenCryptoki(t, func(t *testing.T) {
		for name, h := range holders() {
			t.Run(name, func(t *testing.T) {
				b := softTokens(t)
				token := hold(t, open(t, b), softToken())
				finish(t, token)
				h.toFinalTry(t, token)
				for _, pin := range []string{h.pin, "99999999"} { // not even the right one
					wants(t, h.login(t.Context(), token, pin), pkcs11.ErrPINLastTry)
				}
				if name == "SO" {
					_, err := token.Init(t.Context(), pkcs11.NewSOPIN(h.pin), "again")
					wants(t, err, pkcs11.ErrPINLastTry)
				}
				if got := h.flags(t, token); got != h.finalTry {
					t.Errorf("flags are %#x, want the final try still there", got)
				}
				out, err := pkcs11Tool(t, b, "--list-token-slots")
				if err != nil || !strings.Contains(out, h.saysFinal) || strings.Contains(out, "locked") {
					t.Errorf("pkcs11-tool says of the token: %v\n%s", err, out)
				}
				// The try is there: a person who knows the PIN has it.
				if out, err := pkcs11Tool(t, b, h.logInByTool(h.pin)...); err != nil {
					t.Errorf("pkcs11-tool cannot log in: %v\n%s", err, out)
				}
				must(t, h.login(t.Context(), token, h.pin))
			})
		}
	})
}

// TestLockedPIN: what the refusal above keeps from happening does happen.
func TestLockedPIN(t *testing.T) {
	pkcs11test.InOpenCryptoki(t, func(t *testing.T) {
		for name, h := range holders() {
			t.Run(name, func(t *testing.T) {
				b := softTokens(t)
				token := hold(t, open(t, b), softToken())
				finish(t, token)
				h.toFinalTry(t, token)
				if out, err := pkcs11Tool(t, b, h.logInByTool("99999999")...); err == nil || !strings.Contains(out, "CKR_PIN_INCORRECT") {
					t.Fatalf("pkcs11-tool with a wrong PIN: %v\n%s", err, out)
				}
				err := h.login(t.Context(), token, h.pin)
				wants(t, err, pkcs11.ErrPINLocked)
				if e, ok := errors.AsType[*pkcs11.Error](err); !ok || e.Code != 0 {
					t.Errorf("the token was asked: %v", err)
				}
				if got := h.flags(t, token); got != h.locked {
					t.Errorf("flags are %#x, want %#x", got, h.locked)
				}
				if out, err := pkcs11Tool(t, b, "--list-token-slots"); err != nil || !strings.Contains(out, h.saysLocked) {
					t.Errorf("pkcs11-tool says of the token: %v\n%s", err, out)
				}
				if out, err := pkcs11Tool(t, b, h.logInByTool(h.pin)...); err == nil || !strings.Contains(out, "CKR_PIN_LOCKED") {
					t.Errorf("pkcs11-tool with the right PIN: %v\n%s", err, out)
				}
				if name == "SO" { // for good
					_, err := token.Init(t.Context(), pkcs11.NewSOPIN(h.pin), "again")
					wants(t, err, pkcs11.ErrPINLocked)
					return
				}
				must(t, token.LoginSO(t.Context(), pkcs11.NewSOPIN(finishedSO)))
				must(t, token.InitUserPIN(t.Context(), pkcs11.NewUserPIN(finishedUser)))
				must(t, token.Logout(t.Context()))
				must(t, h.login(t.Context(), token, h.pin))
			})
		}
	})
}

// TestUnknownLoginIsNotRepeated: a login whose answer was lost may have spent a try.
// Nothing makes it a second time.
func TestUnknownLoginIsNotRepeated(t *testing.T) {
	rows := map[string]struct {
		rule  string
		want  error
		flags pkcs11.TokenFlags // what the login did to the token, unseen
	}{
		"the caller left":   {"C_Login wait 200", context.Canceled, pkcs11.FlagUserPINCountLow},
		"the module hung":   {"C_Login hang", pkcs11.ErrModuleHung, 0},
		"the module died":   {"C_Login segv", pkcs11.ErrModuleCrashed, 0},
		"the device failed": {"C_Login return 0x30", pkcs11.ErrDevice, 0},
	}
	pkcs11test.InOpenCryptoki(t, func(t *testing.T) {
		for name, row := range rows {
			t.Run(name, func(t *testing.T) {
				shim := pkcs11test.NewShim(t, softTokens(t))
				spec := worker.Spec{
					Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env, Deadlines: worker.Deadlines{Call: time.Second},
				}
				first := start(t, spec)
				token := hold(t, first, softToken())
				finish(t, token)
				shim.Rules(t, row.rule)
				shim.Calls(t)

				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- token.LoginUser(ctx, pkcs11.NewUserPIN("999999")) }()
				shim.AwaitCall(t, "C_Login")
				if row.want == context.Canceled {
					cancel()
				}
				wants(t, <-done, row.want)
				// What comes next finds out how things stand, here or in a new process.
				shim.Rules(t)
				m := first
				if !first.Healthy() {
					m = start(t, spec)
				}
				token = hold(t, m, softToken())
				info, err := token.Info(t.Context())
				must(t, err)
				tries := pkcs11.FlagUserPINCountLow | pkcs11.FlagUserPINFinalTry | pkcs11.FlagUserPINLocked
				if got := info.Flags & tries; got != row.flags {
					t.Errorf("flags are %#x, want %#x", got, row.flags)
				}
				_, err = token.Objects(t.Context(), pkcs11.Query{})
				must(t, err)
				if n := count(shim.Calls(t), "C_Login"); n != 1 {
					t.Errorf("C_Login was called %d times", n)
				}
			})
		}
	})
}

func count(calls []string, name string) int {
	n := 0
	for _, c := range calls {
		if c == name {
			n++
		}
	}
	return n
}

// TestSoftTokenFromBlankToFinished is the whole way of a token that comes with an SO
// PIN and shows the serial of all others.
func TestSoftTokenFromBlankToFinished(t *testing.T) {
	pkcs11test.InOpenCryptoki(t, func(t *testing.T) {
		ctx := t.Context()
		shim := pkcs11test.NewShim(t, softTokens(t))
		token := hold(t, open(t, shim.Bay), softToken())
		info, err := token.Info(ctx)
		must(t, err)
		if info.Initialized() || info.MinPINLen != 4 || info.MaxPINLen != 8 {
			t.Fatalf("token is %+v", info)
		}
		factory := pkcs11.NewSOPIN(pkcs11test.FactorySOPIN)
		_, err = token.Init(ctx, factory, "示例客车 1")
		must(t, err)
		if token.Identity() != softToken() {
			t.Errorf("it is %v now", token.Identity())
		}
		must(t, token.LoginSO(ctx, factory))
		// CKF_SO_PIN_TO_BE_CHANGED keeps the SO from objects, and from nothing else.
		_, err = token.Objects(ctx, pkcs11.Query{})
		wants(t, err, pkcs11.ErrPINExpired)
		wants(t, token.SetSOPIN(ctx, factory, factory), pkcs11.ErrPINInvalid)
		wants(t, token.SetSOPIN(ctx, factory, pkcs11.NewSOPIN("123456789")), pkcs11.ErrPINInvalid)
		must(t, token.SetSOPIN(ctx, factory, pkcs11.NewSOPIN(finishedSO)))
		// A length that does not fit never reaches the token.
		shim.Calls(t)
		wants(t, token.InitUserPIN(ctx, pkcs11.NewUserPIN("123456789")), pkcs11.ErrPINInvalid)
		if n := count(shim.Calls(t), "C_InitPIN"); n != 0 {
			t.Errorf("C_InitPIN was called %d times", n)
		}
		must(t, token.InitUserPIN(ctx, pkcs11.NewUserPIN(finishedUser)))
		must(t, token.Logout(ctx))
		must(t, token.LoginUser(ctx, pkcs11.NewUserPIN(finishedUser)))
		makesKey(t, token)
		// Nothing asks the user to change the PIN; it can be, to another one.
		same, other := pkcs11.NewUserPIN(finishedUser), pkcs11.NewUserPIN("97531")
		wants(t, token.SetUserPIN(ctx, same, same), pkcs11.ErrPINInvalid)
		must(t, token.SetUserPIN(ctx, same, other))

		// A second process sees all of it at once, though it was there before.
		second := hold(t, open(t, shim.Bay), softToken())
		must(t, second.LoginUser(ctx, other))
		info, err = second.Info(ctx)
		must(t, err)
		if info.Label != "示例客车 1" || !info.Flags.Has(pkcs11.FlagUserPINInitialized) {
			t.Errorf("the second process sees %+v", info)
		}
		must(t, token.WriteCertificate(ctx, pkcs11.CertificateObject{ID: pkcs11.KeyID{1}, Label: "leaf", DER: pkcs11test.Certificate(t, "leaf")}))
		objects, err := second.Objects(ctx, pkcs11.Query{ID: pkcs11.KeyID{1}})
		must(t, err)
		if len(objects) != 3 {
			t.Errorf("the second process sees %d objects, want key and certificate", len(objects))
		}
		// Its session stands in the way of an initialisation, in any process.
		_, err = token.Init(ctx, pkcs11.NewSOPIN(finishedSO), "again")
		wants(t, err, pkcs11.ErrSessionExists)
	})
}

// makesKey generates an RSA key and signs with it.
func makesKey(t *testing.T, token pkcs11.Token) {
	t.Helper()
	rsa, err := pkcs11.AlgorithmByName("rsa2048")
	must(t, err)
	_, err = token.GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{Algorithm: rsa, ID: pkcs11.KeyID{1}, Label: "key"})
	must(t, err)
	_, err = token.Sign(t.Context(), pkcs11.KeyID{1}, rsa.Sign, make([]byte, 32))
	must(t, err)
}

// TestP11KitServerDies: a device error, and the token is there again when the server is.
func TestP11KitServerDies(t *testing.T) {
	k := pkcs11test.NewP11Kit(t)
	first := open(t, k.Bay)
	slots, err := first.Slots(t.Context())
	must(t, err)
	i := slices.IndexFunc(slots, func(s pkcs11.Slot) bool { return s.Token != nil && !s.Token.Initialized() })
	token := hold(t, first, slots[i].Identity())
	ctx := t.Context()
	so, user := pkcs11.NewSOPIN(finishedSO), pkcs11.NewUserPIN(finishedUser)
	_, err = token.Init(ctx, so, "label")
	must(t, err)
	must(t, token.LoginSO(ctx, so))
	must(t, token.InitUserPIN(ctx, user))
	must(t, token.Logout(ctx))
	must(t, token.LoginUser(ctx, user))
	makesKey(t, token)

	k.Kill(t)
	_, err = token.Sign(ctx, pkcs11.KeyID{1}, pkcs11.MechanismRSAPKCS, make([]byte, 32))
	wants(t, err, pkcs11.ErrDevice)
	wants(t, token.LoginUser(ctx, user), pkcs11.ErrDevice)

	// The module has no connection any more, whatever server there is: it takes a new process.
	k.Serve(t)
	again := hold(t, open(t, k.Bay), token.Identity())
	must(t, again.LoginUser(ctx, user))
	_, err = again.Sign(ctx, pkcs11.KeyID{1}, pkcs11.MechanismRSAPKCS, make([]byte, 32))
	must(t, err)
}
