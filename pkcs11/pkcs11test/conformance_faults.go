package pkcs11test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// returnCodes: what a module returns arrives as its meaning, with code and function.
func (s suite) returnCodes(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.loggedIn(t, m, "label")
	s.generate(t, token, pkcs11.KeyID{1}, "key")
	calls := map[string]func(context.Context, pkcs11.Token) error{}
	for _, c := range append(s.writes(t), s.reads(t)...) {
		calls[c.name] = c.call
	}
	for _, c := range []struct {
		call     string
		function string
		rv       string
		code     pkcs11.Code
		want     error
	}{
		{"GenerateKeyPair", "C_GenerateKeyPair", "0x31", 0x31, pkcs11.ErrTokenFull},
		{"GenerateKeyPair", "C_GenerateKeyPair", "0xd1", 0xd1, pkcs11.ErrTemplateRefused},
		{"GenerateKeyPair", "C_GenerateKeyPair", "0x30", 0x30, pkcs11.ErrDevice},
		{"WriteCertificate", "C_CreateObject", "0x31", 0x31, pkcs11.ErrTokenFull},
		{"WriteCertificate", "C_CreateObject", "0xe2", 0xe2, pkcs11.ErrWriteProtected},
		{"Destroy", "C_DestroyObject", "0x101", 0x101, pkcs11.ErrNotLoggedIn},
		{"Sign", "C_SignInit", "0x101", 0x101, pkcs11.ErrNotLoggedIn},
		{"Sign", "C_Sign", "0x32", 0x32, pkcs11.ErrTokenRemoved},
		{"Objects", "C_FindObjectsInit", "0xb3", 0xb3, pkcs11.ErrTokenRemoved},
		{"Objects", "C_GetAttributeValue", "0x5", 0x5, pkcs11.ErrGeneral},
		{"Init", "C_InitToken", "0xa4", 0xa4, pkcs11.ErrPINLocked},
		{"Init", "C_InitToken", "0x54", 0x54, pkcs11.ErrUnsupported},
		{"LoginUser", "C_Login", "0xa4", 0xa4, pkcs11.ErrPINLocked},
		{"LoginUser", "C_Login", "0xa3", 0xa3, pkcs11.ErrPINExpired},
		{"LoginUser", "C_Login", "0x80000001", 0x80000001, pkcs11.ErrGeneral}, // a vendor's own
	} {
		t.Run(c.function+" "+c.rv, func(t *testing.T) {
			shim.Rules(t)
			check(t, token.Logout(t.Context()))
			check(t, token.LoginUser(t.Context(), user(userPIN)))
			shim.Rules(t, c.function+" return "+c.rv)
			err := calls[c.call](t.Context(), token)
			wants(t, err, c.want)
			e, ok := errors.AsType[*pkcs11.Error](err)
			if !ok || e.Code != c.code || e.Op != c.function {
				t.Errorf("error is %#v, want code %s of %s", err, c.code, c.function)
			}
			shim.Rules(t)
		})
	}
}

// searchEnded: C_FindObjectsFinal follows whatever happens within a search.
func (s suite) searchEnded(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.loggedIn(t, m, "label")
	s.generate(t, token, pkcs11.KeyID{1}, "key")
	for _, rule := range []string{"C_FindObjects return 0x6", "C_GetAttributeValue return 0x6"} {
		shim.Rules(t, rule)
		shim.Calls(t)
		_, err := token.Objects(t.Context(), pkcs11.Query{})
		wants(t, err, pkcs11.ErrGeneral)
		if calls := shim.Calls(t); count(calls, "C_FindObjectsInit") != count(calls, "C_FindObjectsFinal") {
			t.Errorf("%s: calls are %v", rule, calls)
		}
		shim.Rules(t)
		if n := len(objects(t, token, pkcs11.Query{})); n != 2 {
			t.Errorf("%s: %d objects afterwards", rule, n)
		}
	}
}

// badSlot: a token that cannot be read is listed with the fault, beside the others.
func (s suite) badSlot(t *testing.T) {
	m, shim := s.shimmed(t)
	s.initialised(t, m, "label")
	shim.Rules(t, "C_GetTokenInfo return 0xe1") // CKR_TOKEN_NOT_RECOGNIZED
	all := slots(t, m)
	if len(all) != 2 {
		t.Fatalf("%d slots, want 2", len(all))
	}
	for _, slot := range all {
		if slot.Token != nil || slot.Fault == nil || !errors.Is(slot.Fault, pkcs11.ErrTokenUnknown) || slot.Description == "" {
			t.Errorf("slot is %+v", slot)
		}
	}
}

// restart: where the initialised token does not show, the module is started anew.
func (s suite) restart(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.openBlank(t, m)
	shim.Rules(t, "C_GetTokenInfo label OTHER") // as if it never showed
	shim.Calls(t)
	_, err := token.Init(t.Context(), so(s.soPIN), "label")
	wants(t, err, pkcs11.ErrTokenRemoved)
	calls := shim.Calls(t)
	if !slices.Contains(calls, "C_Finalize") || !slices.Contains(calls, "C_Initialize") {
		t.Errorf("calls are %v", calls)
	}
	if n := count(calls, "C_InitToken"); n != 1 {
		t.Errorf("C_InitToken was called %d times", n)
	}
	// The module is usable afterwards, and the token is there.
	shim.Rules(t)
	for _, slot := range slots(t, m) {
		if slot.Token != nil && slot.Token.Label == "label" {
			check(t, openID(t, m, slot.Identity()).LoginSO(t.Context(), so(s.soPIN)))
			return
		}
	}
	t.Error("the token is not there")
}

// calls: on a real token each costs some 30 ms, so that their number is kept.
func (s suite) calls(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.openBlank(t, m)
	ctx := t.Context()
	quick := s.quick(t)
	id := pkcs11.KeyID{1}
	for _, c := range []struct {
		name string
		call func() error
		most int
	}{
		// Listing slots is two calls in the binding, and so are reading attributes and C_Sign.
		{"Init", func() error { _, err := token.Init(ctx, so(s.soPIN), "label"); return err }, 7},
		// The first call by a session asks whose it is.
		{"LoginSO", func() error { return token.LoginSO(ctx, so(s.soPIN)) }, 3},
		{"InitUserPIN", func() error { return token.InitUserPIN(ctx, user(userPIN)) }, 2},
		{"Logout", func() error { return token.Logout(ctx) }, 1},
		{"LoginUser", func() error { return token.LoginUser(ctx, user(userPIN)) }, 2},
		{"GenerateKeyPair", func() error {
			_, err := token.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: quick, ID: id, Label: "key"})
			return err
		}, 6}, // reads both halves, which spares a search for the private one
		// A key that was just made is not searched for.
		{"Sign", func() error { _, err := token.Sign(ctx, id, quick.Sign, make([]byte, 32)); return err }, 3},
		{"WriteCertificate", func() error {
			return token.WriteCertificate(ctx, pkcs11.CertificateObject{ID: id, DER: Certificate(t, "leaf")})
		}, 2},
		{"Objects", func() error {
			_, err := token.Objects(ctx, pkcs11.Query{Class: of(pkcs11.ClassCertificate), ID: id})
			return err
		}, 6},
		// One search, the private key and the certificate; the public key is known.
		{"Objects at a glance", func() error {
			all, err := token.Objects(ctx, pkcs11.Query{Shallow: true})
			if len(all) != 3 {
				t.Errorf("objects are %+v", all)
			}
			return err
		}, 8},
		{"Close", func() error { return token.Close() }, 2},
	} {
		shim.Calls(t)
		check(t, c.call())
		if calls := shim.Calls(t); len(calls) > c.most {
			t.Errorf("%s makes %d calls, at most %d are needed: %v", c.name, len(calls), c.most, calls)
		}
	}
}
