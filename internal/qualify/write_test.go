package qualify_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/qualify"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

const factorySO = "factory-12345678"

// TestWritingABlankToken tries everything on SoftHSM. The SO PIN that was drawn is
// kept, and opens the token that is left.
func TestWritingABlankToken(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	o, kept := writingTo(t, bay, blank(t, bay))
	o.Write.Algorithms = nil
	o.Write.PINTry = true
	r := qualified(t, o)
	findsNone(t, r, qualify.Unfit)
	for probe, says := range map[string]string{
		"init": "got its serial", "so login": "can log in", "so pin": "can change", "user pin": "C_InitPIN", "user login": "can log in",
		"user pin change": "C_SetPIN", "PIN lengths": "4 and of 255 bytes", "pin try": "that a try was spent (0x1042d), and the right PIN clears that",
		"init again":   "user PIN and objects are gone",
		"keys rsa4096": "certified", "keys ec-p384": "certified",
	} {
		finds(t, r, qualify.OK, probe, says)
	}
	finds(t, r, qualify.Note, "init", "in another slot")
	finds(t, r, qualify.Note, "other process", "only after C_Initialize anew")
	for _, a := range r.Algorithms {
		if !a.Works || a.KeyID != "kept" || a.Login != "user" || len(a.Omit) > 0 || a.Claims["CKA_LOCAL"] != "yes" || a.Generation.Count != 2 || a.Generation.Max <= 0 {
			t.Errorf("algorithm %+v", a)
		}
	}
	left := slot(t, bay, pkcs11.TokenInfo.Initialized)
	if left.Token.Flags.Has(pkcs11.FlagUserPINInitialized) || left.Token.Label != "usbkeyd qualified" {
		t.Errorf("the token is left as %+v", left.Token)
	}
	if len(kept.pins) != 1 || !strings.Contains(r.State, "its SO PIN is in the test") {
		t.Fatalf("%d SO PINs are kept; state %q", len(kept.pins), r.State)
	}
	opens(t, bay, string(left.Token.Serial), kept.pins[0])
}

// TestWritingAFactoryToken: a token that its factory SO PIN opens is written whatever
// is on it, and has that SO PIN again in the end.
func TestWritingAFactoryToken(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "sample", factorySO, "123456")
	serial := string(slot(t, bay, pkcs11.TokenInfo.Initialized).Token.Serial)
	o, kept := writingTo(t, bay, serial)
	o.Write.FactorySO, o.Write.FactorySOPINFile = pkcs11.NewSOPIN(factorySO), "/nowhere/factory.pin"
	r := qualified(t, o)
	findsNone(t, r, qualify.Unfit)
	finds(t, r, qualify.OK, "init", "the serial stayed the same")
	if !strings.Contains(r.Destroyed, "sample") || !strings.Contains(r.Destroyed, "a user PIN") {
		t.Errorf("destroyed: %q", r.Destroyed)
	}
	if !kept.forgot || !strings.Contains(r.State, "its SO PIN is the one that was given") {
		t.Errorf("forgot %t, state %q", kept.forgot, r.State)
	}
	opens(t, bay, serial, o.Write.FactorySO)
	if r.Profile == nil || r.Profile.FactorySOPINFile != "/nowhere/factory.pin" {
		t.Errorf("profile %+v", r.Profile)
	}
}

// TestRefusals: nothing is written.
func TestRefusals(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "sample", factorySO, "123456")
	serial := string(slot(t, bay, pkcs11.TokenInfo.Initialized).Token.Serial)
	for _, row := range []struct {
		name, token, so string
		is              error
		says            string
	}{
		{"not there", "no-such-token", "", pkcs11.ErrNotFound, "no-such-token"},
		{"initialised", serial, "", qualify.ErrRefused, "--factory-so-pin-file"},
		{"another SO PIN", serial, "wrong-87654321", pkcs11.ErrPINIncorrect, "has spent a try"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o, kept := writingTo(t, bay, row.token)
			if row.so != "" {
				o.Write.FactorySO = pkcs11.NewSOPIN(row.so)
			}
			_, err := qualify.Run(t.Context(), o)
			if !errors.Is(err, qualify.ErrRefused) || !errors.Is(err, row.is) || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error is %v", err)
			}
			if kept.pins != nil {
				t.Error("an SO PIN was kept")
			}
		})
	}
	if s := slot(t, bay, pkcs11.TokenInfo.Initialized); s.Token.Label != "sample" || !s.Token.Flags.Has(pkcs11.FlagUserPINInitialized) {
		t.Errorf("the token is now %+v", s.Token)
	}
}

func TestAmbiguousTokenIsRefused(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "one", factorySO, "123456")
	bay.InitToken(t, "two", factorySO, "123456")
	shim := pkcs11test.NewShim(t, bay)
	shim.Rules(t, "C_GetTokenInfo serial 42")
	o, _ := writingTo(t, shim.Bay, "42")
	o.Write.FactorySO = pkcs11.NewSOPIN(factorySO)
	shim.Calls(t)
	if _, err := qualify.Run(t.Context(), o); !errors.Is(err, pkcs11.ErrAmbiguous) || !errors.Is(err, qualify.ErrRefused) {
		t.Errorf("error is %v", err)
	}
	if slices.Contains(shim.Calls(t), "C_Login") {
		t.Error("a PIN was tried")
	}
}

// TestSOPINIsKeptFirst: when it cannot be kept, the token does not get it.
func TestSOPINIsKeptFirst(t *testing.T) {
	full := errors.New("no space left")
	bay := pkcs11test.NewBay(t)
	o, _ := writingTo(t, bay, blank(t, bay))
	o.Write.Keep = func(...pkcs11.SOPIN) error { return full }
	if _, err := qualify.Run(t.Context(), o); !errors.Is(err, full) {
		t.Errorf("error is %v", err)
	}
	blank(t, bay) // it still is

	bay.InitToken(t, "sample", factorySO, "123456")
	serial := string(slot(t, bay, pkcs11.TokenInfo.Initialized).Token.Serial)
	o.Write.Token, o.Write.FactorySO = serial, pkcs11.NewSOPIN(factorySO)
	if _, err := qualify.Run(t.Context(), o); !errors.Is(err, full) {
		t.Errorf("error is %v", err)
	}
	opens(t, bay, serial, o.Write.FactorySO)
}

// TestOmissions: what a token refuses in a template is found out, and stands in the
// profile; whoever writes keys by that profile can.
func TestOmissions(t *testing.T) {
	for _, row := range []struct {
		refuses string
		want    []string
	}{
		{"CKA_EXTRACTABLE", []string{"CKA_EXTRACTABLE"}},
		{"CKA_LABEL CKA_SENSITIVE", []string{"CKA_LABEL", "CKA_SENSITIVE"}},
		{"CKA_LABEL CKA_VERIFY CKA_SIGN", []string{"CKA_LABEL", "CKA_VERIFY", "CKA_SIGN"}},
	} {
		t.Run(row.refuses, func(t *testing.T) {
			bay := pkcs11test.NewBay(t)
			bay.Env[pickyAttributes] = row.refuses
			o, _ := writingTo(t, bay, blank(t, bay))
			r := qualified(t, o)
			findsNone(t, r, qualify.Unfit)
			finds(t, r, qualify.Note, "keys ec-p256", "must do without "+strings.Join(row.want, ", "))
			if r.Profile == nil || !slices.Equal(r.Profile.OmitAttributes, row.want) {
				t.Errorf("profile %s", r.ProfileYAML)
			}
		})
	}
}

// TestOmissionsOfOneAlgorithm: a profile has one list for all, so what only RSA keys
// can do without makes EC keys impossible; the report says so.
func TestOmissionsOfOneAlgorithm(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.Env[pickyAttributes] = "CKA_LABEL CKA_PUBLIC_EXPONENT"
	o, _ := writingTo(t, bay, blank(t, bay))
	rsa, err := pkcs11.AlgorithmByName("rsa2048")
	if err != nil {
		t.Fatal(err)
	}
	o.Write.Algorithms = append(o.Write.Algorithms, rsa)
	r := qualified(t, o)
	findsNone(t, r, qualify.Unfit)
	for _, a := range r.Algorithms {
		if a.Tried && a.Works != (a.Name == "rsa2048") {
			t.Errorf("algorithm %+v", a)
		}
	}
	finds(t, r, qualify.Note, "keys ec-p256", "CKA_PUBLIC_EXPONENT")
	if r.Profile == nil || !slices.Equal(r.Profile.OmitAttributes, []string{"CKA_LABEL", "CKA_PUBLIC_EXPONENT"}) {
		t.Errorf("profile %s", r.ProfileYAML)
	}
}

// TestFixedKeyID: a token that gives every key one CKA_ID.
func TestFixedKeyID(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.Env[pickyKeyID] = "\x02"
	o, _ := writingTo(t, bay, blank(t, bay))
	r := qualified(t, o)
	findsNone(t, r, qualify.Unfit)
	finds(t, r, qualify.Note, "keys ec-p256", "CKA_ID 02")
	if r.Profile == nil || r.Profile.KeyID != "02" {
		t.Errorf("profile %s", r.ProfileYAML)
	}
}

// TestOfficerWritesKeys: a token on which the user may use keys only.
func TestOfficerWritesKeys(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	o, _ := writingTo(t, bay, blank(t, bay))
	start, m := o.Start, officersModule{pins: new(struct {
		so   pkcs11.SOPIN
		user pkcs11.UserPIN
	})}
	o.Start = func(ctx context.Context) (pkcs11.Module, error) {
		inner, err := start(ctx)
		if err != nil {
			return nil, err
		}
		return officersModule{inner, m.pins}, nil
	}
	r := qualified(t, o)
	findsNone(t, r, qualify.Unfit)
	finds(t, r, qualify.Note, "keys ec-p256", "keyLogin: so")
	if r.Profile == nil || r.Profile.KeyLogin != "so" {
		t.Errorf("profile %s", r.ProfileYAML)
	}
}

// TestWritingBadModules: what goes wrong is a finding, and the token is left in a
// state that the report names.
func TestWritingBadModules(t *testing.T) {
	for _, row := range []struct {
		name, rule  string
		severity    qualify.Severity
		probe, says string
		state       string
	}{
		{"login crashes", "C_Login segv", qualify.Unfit, "so login", "C_Login crashes", "no objects"},
		{"login hangs", "C_Login hang", qualify.Unfit, "so login", "C_Login hangs", "no objects"},
		{"init fails", "C_InitToken return 0x30", qualify.Unfit, "init", "CKR_DEVICE_ERROR", "as it was"},
		{"init crashes", "C_InitToken segv", qualify.Unfit, "init", "C_InitToken crashes", "in doubt"},
		{"no C_InitPIN", "C_InitPIN return 0x54", qualify.Unfit, "user pin", "--factory-user-pin-file", "no objects"},
		{"no C_SetPIN", "C_SetPIN return 0x54", qualify.Note, "so pin", "factory SO PIN", "no objects"},
		{"keys crash", "C_GenerateKeyPair segv", qualify.Unfit, "keys", "no key", "no objects"},
		{"keys hang", "C_GenerateKeyPair hang", qualify.Note, "keys ec-p256", "hangs", "no objects"},
		{"keys refused", "C_GenerateKeyPair return 0xd1", qualify.Unfit, "keys", "no key", "no objects"},
		{"no signature", "C_Sign return 0x6", qualify.Note, "keys ec-p256", "CKR_FUNCTION_FAILED", "no objects"},
		{"no certificate", "C_CreateObject return 0x31", qualify.Note, "keys ec-p256", "token memory full", "no objects"},
		{"PIN to be changed", "C_GetTokenInfo flags 0x80000", qualify.Note, "user pin", "wants its holder to change", "no objects"},
		{"no destroying", "C_DestroyObject return 0x6", qualify.Note, "keys ec-p256", "CKR_FUNCTION_FAILED", "no objects"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bay := pkcs11test.NewBay(t)
			shim := pkcs11test.NewShim(t, bay)
			o, kept := writingTo(t, shim.Bay, blank(t, shim.Bay))
			o.Write.KeyGenerations = 1
			o.Start = within(impatient(), shim.Bay).Start
			shim.Rules(t, row.rule)
			r := qualified(t, o)
			finds(t, r, row.severity, row.probe, row.says)
			if !strings.Contains(r.State, row.state) {
				t.Errorf("state is %q", r.State)
			}
			if untouched := row.state == "as it was"; untouched != kept.forgot || untouched == (len(kept.pins) > 0) {
				t.Errorf("forgot %t, %d SO PINs kept", kept.forgot, len(kept.pins))
			}
			if row.state != "no objects" {
				return
			}
			shim.Rules(t) // it behaves again
			opens(t, bay, string(slot(t, bay, pkcs11.TokenInfo.Initialized).Token.Serial), kept.pins[0])
		})
	}
}

// TestStoppedWhileWriting: the token is left as it would be in the end.
func TestStoppedWhileWriting(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "sample", factorySO, "123456")
	serial := string(slot(t, bay, pkcs11.TokenInfo.Initialized).Token.Serial)
	o, kept := writingTo(t, bay, serial)
	o.Write.FactorySO = pkcs11.NewSOPIN(factorySO)
	ctx, stop := context.WithCancel(t.Context())
	o.Say = func(format string, _ ...any) {
		if strings.HasPrefix(format, "making") {
			stop()
		}
	}
	r, err := qualify.Run(ctx, o)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	findsNone(t, r, qualify.Unfit)
	if !strings.Contains(r.State, "no user PIN, no objects; its SO PIN is the one that was given") || kept.pins != nil {
		t.Errorf("state %q, %d SO PINs kept", r.State, len(kept.pins))
	}
	opens(t, bay, serial, o.Write.FactorySO)
}

// TestOwnUserPIN: a token whose SO cannot set the user PIN comes with one.
func TestOwnUserPIN(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "sample", factorySO, "factory-user")
	serial := string(slot(t, bay, pkcs11.TokenInfo.Initialized).Token.Serial)
	shim := pkcs11test.NewShim(t, bay)
	shim.Rules(t, "C_InitToken return 0x54", "C_InitPIN return 0x54")
	o, _ := writingTo(t, shim.Bay, serial)
	o.Write.FactorySO, o.Write.FactorySOPINFile = pkcs11.NewSOPIN(factorySO), "/nowhere/so.pin"
	o.Write.FactoryUser, o.Write.FactoryUserPINFile = pkcs11.NewUserPIN("factory-user"), "/nowhere/user.pin"
	r := qualified(t, o)
	findsNone(t, r, qualify.Unfit)
	if p := r.Profile; p == nil || !p.KeepAsMade || p.UserPIN != "change" || p.FactoryUserPINFile != "/nowhere/user.pin" {
		t.Errorf("profile %s", r.ProfileYAML)
	}
	if !strings.HasPrefix(r.State, "as it came") {
		t.Errorf("state %q", r.State)
	}
	opens(t, bay, serial, o.Write.FactorySO)
	// It has its user PIN, its label and nothing else, as another program sees it.
	if out := bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--token-label", "sample", "--login", "--pin", "factory-user", "--list-objects"); strings.Contains(out, "Key Object") {
		t.Errorf("objects are left: %s", out)
	}
}
