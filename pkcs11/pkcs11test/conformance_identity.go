package pkcs11test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// write is a call that writes to a token or spends a PIN.
type write struct {
	name string
	call func(context.Context, pkcs11.Token) error
}

// writes are all of them. They must notice a token that is not the one expected.
func (s suite) writes(t *testing.T) []write {
	quick := s.quick(t)
	der := Certificate(t, "leaf")
	return []write{
		{"Init", func(ctx context.Context, k pkcs11.Token) error {
			_, err := k.Init(ctx, so(s.soPIN), "again")
			return err
		}},
		{"LoginSO", func(ctx context.Context, k pkcs11.Token) error { return k.LoginSO(ctx, so(s.soPIN)) }},
		{"LoginUser", func(ctx context.Context, k pkcs11.Token) error { return k.LoginUser(ctx, user(userPIN)) }},
		{"InitUserPIN", func(ctx context.Context, k pkcs11.Token) error { return k.InitUserPIN(ctx, user(userPIN)) }},
		{"SetSOPIN", func(ctx context.Context, k pkcs11.Token) error { return k.SetSOPIN(ctx, so(s.soPIN), so(otherSOPIN)) }},
		{"GenerateKeyPair", func(ctx context.Context, k pkcs11.Token) error {
			_, err := k.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: quick, ID: pkcs11.KeyID{7}})
			return err
		}},
		{"WriteCertificate", func(ctx context.Context, k pkcs11.Token) error {
			return k.WriteCertificate(ctx, pkcs11.CertificateObject{ID: pkcs11.KeyID{7}, DER: der})
		}},
		{"Destroy", func(ctx context.Context, k pkcs11.Token) error {
			_, err := k.Destroy(ctx, pkcs11.Query{ID: pkcs11.KeyID{1}})
			return err
		}},
	}
}

// reads are the calls that only read.
func (s suite) reads(t *testing.T) []write {
	quick := s.quick(t)
	return []write{
		{"Info", func(ctx context.Context, k pkcs11.Token) error { _, err := k.Info(ctx); return err }},
		{"Objects", func(ctx context.Context, k pkcs11.Token) error { _, err := k.Objects(ctx, pkcs11.Query{}); return err }},
		{"Sign", func(ctx context.Context, k pkcs11.Token) error {
			_, err := k.Sign(ctx, pkcs11.KeyID{1}, quick.Sign, make([]byte, 32))
			return err
		}},
	}
}

// harmful are the calls of which none may reach the wrong token.
func harmful() []string {
	return []string{
		"C_InitToken", "C_Login", "C_InitPIN", "C_SetPIN", "C_GenerateKeyPair", "C_CreateObject", "C_DestroyObject",
	}
}

func noHarm(t *testing.T, calls []string) {
	t.Helper()
	for _, name := range harmful() {
		if slices.Contains(calls, name) {
			t.Errorf("%s was called", name)
		}
	}
}

func (s suite) closed(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	id := token.Identity()
	check(t, token.Close())
	check(t, token.Close())
	for _, c := range append(s.writes(t), s.reads(t)...) {
		wants(t, c.call(t.Context(), token), pkcs11.ErrClosed)
	}
	if token.Identity() != id {
		t.Errorf("identity is %v, was %v", token.Identity(), id)
	}

	// Closing logged out: another session must log in itself.
	again := openID(t, m, id)
	_, err := again.GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{Algorithm: s.quick(t)})
	wants(t, err, pkcs11.ErrNotLoggedIn)

	check(t, m.Close())
	check(t, m.Close())
	for _, c := range append(s.writes(t), s.reads(t)...) {
		wants(t, c.call(t.Context(), again), pkcs11.ErrClosed)
	}
	_, err = m.Slots(t.Context())
	wants(t, err, pkcs11.ErrClosed)
	_, err = m.Info(t.Context())
	wants(t, err, pkcs11.ErrClosed)
	_, err = m.Open(t.Context(), id)
	wants(t, err, pkcs11.ErrClosed)
	check(t, again.Close())
}

func (s suite) cancelled(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.loggedIn(t, m, "label")
	shim.Calls(t)
	ctx := cancelledContext(t)
	for _, c := range append(s.writes(t), s.reads(t)...) {
		wants(t, c.call(ctx, token), context.Canceled)
	}
	_, err := m.Slots(ctx)
	wants(t, err, context.Canceled)
	if calls := shim.Calls(t); len(calls) != 0 {
		t.Errorf("calls were made: %v", calls)
	}
}

// initialisedOutside: a token initialised again by another process keeps its
// serial, and SoftHSM goes on using the open session as if nothing had been.
func (s suite) initialisedOutside(t *testing.T) {
	for _, c := range s.writes(t) {
		t.Run(c.name, func(t *testing.T) {
			m, b := s.fresh(t)
			token := s.loggedIn(t, m, "ours")
			if c.name == "LoginSO" || c.name == "LoginUser" {
				check(t, token.Logout(t.Context()))
			}
			b.Tool(t, "softhsm2-util", "--init-token", "--serial", string(token.Identity().Serial),
				"--label", "theirs", "--so-pin", soPIN, "--pin", userPIN)
			wants(t, c.call(t.Context(), token), pkcs11.ErrTokenReplaced)
			// It stays so until the token is opened anew.
			wants(t, c.call(t.Context(), token), pkcs11.ErrTokenReplaced)
		})
	}
}

func (s suite) deletedOutside(t *testing.T) {
	m, b := s.fresh(t)
	token := s.loggedIn(t, m, "ours")
	b.Tool(t, "softhsm2-util", "--delete-token", "--serial", string(token.Identity().Serial))
	for _, c := range s.writes(t) {
		if err := c.call(t.Context(), token); err == nil {
			t.Errorf("%s succeeds on a token that is no more", c.name)
		}
	}
}

// ambiguous: two tokens of one serial are both refused. SoftHSM itself aborts on
// two token directories of one serial, so the shim makes them equal.
func (s suite) ambiguous(t *testing.T) {
	m, shim := s.shimmed(t)
	s.initialised(t, m, "first")
	second := s.initialised(t, m, "second")
	check(t, second.Close())
	shim.Rules(t, "C_GetTokenInfo serial 1234")

	_, err := m.Open(t.Context(), pkcs11.Identity{Serial: "1234"})
	wants(t, err, pkcs11.ErrAmbiguous)

	// A blank token that gets a serial which another shows cannot be told from it.
	blank := s.openBlank(t, m)
	_, err = blank.Init(t.Context(), so(s.soPIN), "third")
	if err == nil {
		t.Error("a token with the serial of another passes as found again")
	}
}

// replaced: another token is in the slot of the open session.
func (s suite) replaced(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.loggedIn(t, m, "label")
	for _, c := range s.writes(t) {
		for name, rules := range map[string]struct {
			rule string
			want []error // one of them
		}{
			"serial":  {"C_GetTokenInfo serial OTHER", []error{pkcs11.ErrTokenReplaced, pkcs11.ErrTokenRemoved}},
			"label":   {"C_GetTokenInfo label OTHER", []error{pkcs11.ErrTokenReplaced}},
			"removed": {"C_GetTokenInfo return 0xe0", []error{pkcs11.ErrTokenRemoved}},
			"device":  {"C_GetTokenInfo return 0x30", []error{pkcs11.ErrDevice, pkcs11.ErrTokenRemoved}},
		} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				shim.Rules(t)
				_, err := token.Info(t.Context()) // all is well
				check(t, err)
				shim.Rules(t, rules.rule)
				shim.Calls(t)
				for range 2 { // by the open session, then without one
					err := c.call(t.Context(), token)
					if !slices.ContainsFunc(rules.want, func(kind error) bool { return errors.Is(err, kind) }) {
						t.Errorf("error is %v, want one of %v", err, rules.want)
					}
				}
				noHarm(t, shim.Calls(t))
				shim.Rules(t)
			})
		}
	}
	// Put back, it is found again, and wants its PIN again.
	_, err := token.Info(t.Context())
	check(t, err)
	check(t, token.LoginUser(t.Context(), user(userPIN)))
}
