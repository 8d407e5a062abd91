package pkcs11test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

func (s suite) login(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	ctx := t.Context()
	check(t, token.Logout(ctx))
	check(t, token.Logout(ctx)) // without a login it does nothing

	wants(t, token.LoginSO(ctx, so(otherSOPIN)), pkcs11.ErrPINIncorrect)
	wants(t, token.LoginUser(ctx, user("wrong-1")), pkcs11.ErrPINIncorrect)
	wants(t, token.LoginSO(ctx, so("")), pkcs11.ErrPINInvalid)
	wants(t, token.LoginUser(ctx, user("")), pkcs11.ErrPINInvalid)
	check(t, token.LoginSO(ctx, so(s.soPIN)))
	check(t, token.Logout(ctx))
	check(t, token.LoginUser(ctx, user(userPIN)))

	// A login beside another is an error, not a success: its PIN was not looked at.
	if err := token.LoginUser(ctx, user("wrong-1")); err == nil {
		t.Error("a second login with a wrong PIN succeeds")
	}
	if err := token.LoginSO(ctx, so(s.soPIN)); err == nil {
		t.Error("the SO logs in beside the user")
	}
}

func (s suite) userPIN(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.initialised(t, m, "label")
	ctx := t.Context()
	wants(t, token.InitUserPIN(ctx, user(userPIN)), pkcs11.ErrNotLoggedIn)
	check(t, token.LoginSO(ctx, so(s.soPIN)))
	for _, pin := range wrongLengths(t, token) {
		wants(t, token.InitUserPIN(ctx, user(pin)), pkcs11.ErrPINInvalid)
	}
	check(t, token.InitUserPIN(ctx, user(userPIN)))
	info, err := token.Info(ctx)
	check(t, err)
	if !info.Flags.Has(pkcs11.FlagUserPINInitialized) {
		t.Errorf("flags are %#x, want the user PIN initialised", info.Flags)
	}
	check(t, token.Logout(ctx))
	check(t, token.LoginUser(ctx, user(userPIN)))
}

// wrongLengths are PINs just outside of what the token says it takes, and none.
func wrongLengths(t *testing.T, token pkcs11.Token) []string {
	t.Helper()
	info, err := token.Info(t.Context())
	check(t, err)
	pins := []string{"", strings.Repeat("x", info.MaxPINLen+1)}
	if info.MinPINLen > 1 { // NSS has no least length
		pins = append(pins, strings.Repeat("x", info.MinPINLen-1))
	}
	return pins
}

// changeUserPIN is C_SetPIN by the user, who needs to be logged in: without a login,
// and with the SO's, the same call would do something else.
func (s suite) changeUserPIN(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	ctx := t.Context()
	const other = "user2468"
	wants(t, token.SetUserPIN(ctx, user("wrong-1"), user(other)), pkcs11.ErrPINIncorrect)
	for _, pin := range wrongLengths(t, token) {
		wants(t, token.SetUserPIN(ctx, user(userPIN), user(pin)), pkcs11.ErrPINInvalid)
	}
	check(t, token.SetUserPIN(ctx, user(userPIN), user(other)))
	check(t, token.Logout(ctx))
	wants(t, token.SetUserPIN(ctx, user(other), user(userPIN)), pkcs11.ErrNotLoggedIn)
	wants(t, token.LoginUser(ctx, user(userPIN)), pkcs11.ErrPINIncorrect)
	check(t, token.LoginUser(ctx, user(other)))
	check(t, token.Logout(ctx))
	if s.opts.Quirks.EmptySOPIN {
		return
	}
	check(t, token.LoginSO(ctx, so(s.soPIN)))
	wants(t, token.SetUserPIN(ctx, user(other), user(userPIN)), pkcs11.ErrNotLoggedIn)
}

// mechanisms: what the suite makes keys with is on the list.
func (s suite) mechanisms(t *testing.T) {
	m, _ := s.fresh(t)
	list, err := s.loggedIn(t, m, "label").Mechanisms(t.Context())
	check(t, err)
	for _, alg := range s.algorithms() {
		if !slices.ContainsFunc(list, func(i pkcs11.MechanismInfo) bool {
			return i.Mechanism == alg.Generate && i.Flags.Has(pkcs11.FlagGenerateKeyPair) && i.MaxKeySize > 0
		}) {
			t.Errorf("%s: mechanism %#x is not listed for key generation", alg.Name, uint(alg.Generate))
		}
	}
}

func (s suite) changeSOPIN(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	ctx := t.Context()
	// With the user logged in C_SetPIN would change the user's PIN.
	wants(t, token.SetSOPIN(ctx, so(userPIN), so(otherSOPIN)), pkcs11.ErrNotLoggedIn)
	check(t, token.Logout(ctx))
	wants(t, token.SetSOPIN(ctx, so(s.soPIN), so(otherSOPIN)), pkcs11.ErrNotLoggedIn)

	check(t, token.LoginSO(ctx, so(s.soPIN)))
	wants(t, token.SetSOPIN(ctx, so("wrong-1"), so(otherSOPIN)), pkcs11.ErrPINIncorrect)
	wants(t, token.SetSOPIN(ctx, so(s.soPIN), so("123")), pkcs11.ErrPINInvalid)
	wants(t, token.SetSOPIN(ctx, so(s.soPIN), so("")), pkcs11.ErrPINInvalid)
	check(t, token.SetSOPIN(ctx, so(s.soPIN), so(otherSOPIN)))
	check(t, token.Logout(ctx))

	wants(t, token.LoginSO(ctx, so(s.soPIN)), pkcs11.ErrPINIncorrect)
	check(t, token.LoginSO(ctx, so(otherSOPIN)))
	check(t, token.Logout(ctx))
	check(t, token.LoginUser(ctx, user(userPIN)))
}

// pinFlags are read before each login; what they forbid is not tried.
func (s suite) pinFlags(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.loggedIn(t, m, "label")
	ctx := t.Context()
	check(t, token.Logout(ctx))
	loginSO := func() error { return token.LoginSO(ctx, so(s.soPIN)) }
	loginUser := func() error { return token.LoginUser(ctx, user(userPIN)) }
	for _, c := range []struct {
		name  string
		flags string
		login func() error
		want  error // nil: it is let through
	}{
		{"user count low", "0x10000", loginUser, nil},
		{"user final try", "0x20000", loginUser, pkcs11.ErrPINLastTry},
		{"user locked", "0x40000", loginUser, pkcs11.ErrPINLocked},
		{"user locked on the final try", "0x60000", loginUser, pkcs11.ErrPINLocked},
		{"user locked, SO logs in", "0x40000", loginSO, nil},
		{"SO count low", "0x100000", loginSO, nil},
		{"SO final try", "0x200000", loginSO, pkcs11.ErrPINLastTry},
		{"SO locked", "0x400000", loginSO, pkcs11.ErrPINLocked},
		{"SO locked, user logs in", "0x400000", loginUser, nil},
		{"PIN pad, user", "0x100", loginUser, pkcs11.ErrPINPad},
		{"PIN pad, SO", "0x100", loginSO, pkcs11.ErrPINPad},
	} {
		t.Run(c.name, func(t *testing.T) {
			shim.Rules(t, "C_GetTokenInfo flags "+c.flags)
			shim.Calls(t)
			err := c.login()
			tried := count(shim.Calls(t), "C_Login")
			if c.want != nil {
				wants(t, err, c.want)
				if tried != 0 {
					t.Errorf("C_Login was called %d times", tried)
				}
				return
			}
			check(t, err)
			check(t, token.Logout(ctx))
		})
	}
}

// initFlags: an initialisation wants the SO PIN too.
func (s suite) initFlags(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.initialised(t, m, "label")
	for _, c := range []struct {
		name, flags string
		want        error
	}{
		{"final try", "0x200000", pkcs11.ErrPINLastTry},
		{"locked", "0x400000", pkcs11.ErrPINLocked},
		{"PIN pad", "0x100", pkcs11.ErrPINPad},
		{"write-protected", "0x2", pkcs11.ErrWriteProtected},
	} {
		t.Run(c.name, func(t *testing.T) {
			shim.Rules(t, "C_GetTokenInfo flags "+c.flags)
			shim.Calls(t)
			_, err := token.Init(t.Context(), so(s.soPIN), "again")
			wants(t, err, c.want)
			if n := count(shim.Calls(t), "C_InitToken"); n != 0 {
				t.Errorf("C_InitToken was called %d times", n)
			}
		})
	}
}

func (s suite) alreadyLoggedIn(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.initialised(t, m, "label")
	shim.Rules(t, "C_Login return 0x100") // CKR_USER_ALREADY_LOGGED_IN
	err := token.LoginSO(t.Context(), so(s.soPIN))
	wants(t, err, pkcs11.ErrGeneral)
	if e, ok := errors.AsType[*pkcs11.Error](err); !ok || e.Code != 0x100 || e.Op != "C_Login" {
		t.Errorf("error is %#v", err)
	}
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
