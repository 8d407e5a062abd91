package pkcs11test

import (
	"context"
	"errors"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Opener opens the implementation under test on a bay. It sees to it that the
// module is closed when the test ends.
type Opener func(t *testing.T, b Bay) pkcs11.Module

// Options narrow the suite.
type Options struct {
	// Algorithms are those to generate keys of; all built-in ones when nil. With
	// -short the slow ones, RSA over 2048 bits, are left out.
	Algorithms []pkcs11.Algorithm
}

// Conformance is what every implementation of pkcs11.Module and pkcs11.Token
// passes. Each part has a bay of its own.
func Conformance(t *testing.T, open Opener, opts Options) {
	s := suite{open: open, opts: opts}
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"module", s.module},
		{"blank slot", s.blankSlot},
		{"open", s.openToken},
		{"init", s.init},
		{"init labels", s.initLabels},
		{"init with a wrong SO PIN", s.initWrongPIN},
		{"init again", s.initAgain},
		{"init beside an open session", s.initSessionExists},
		{"init of two tokens", s.initTwo},
		{"login", s.login},
		{"user PIN", s.userPIN},
		{"change user PIN", s.changeUserPIN},
		{"mechanisms", s.mechanisms},
		{"SO PIN", s.soPIN},
		{"keys", s.keys},
		{"key refusals", s.keyRefusals},
		{"sign", s.sign},
		{"certificates", s.certificates},
		{"foreign certificate", s.foreignCertificate},
		{"objects", s.objects},
		{"destroy", s.destroy},
		{"close", s.closed},
		{"cancelled", s.cancelled},
		{"initialised by someone else", s.initialisedOutside},
		{"deleted by someone else", s.deletedOutside},
		{"PIN flags", s.pinFlags},
		{"init flags", s.initFlags},
		{"already logged in", s.alreadyLoggedIn},
		{"two tokens of one serial", s.ambiguous},
		{"replaced", s.replaced},
		{"return codes", s.returnCodes},
		{"search is ended", s.searchEnded},
		{"bad slot among good", s.badSlot},
		{"found again after restart", s.restart},
		{"calls are spared", s.calls},
	} {
		t.Run(part.name, part.run)
	}
}

type suite struct {
	open Opener
	opts Options
}

// PINs of the suite.
const (
	soPIN      = "so-pin-8642"
	otherSOPIN = "so-pin-9753"
	userPIN    = "user-1357"
)

func so(pin string) pkcs11.SOPIN { return pkcs11.NewSOPIN(pin) }

func user(pin string) pkcs11.UserPIN { return pkcs11.NewUserPIN(pin) }

// check is for errors that must not be.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants is for errors that must be, of a kind.
func wants(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want kind %q", err, kind)
	}
}

// fresh opens the implementation on a bay of its own.
func (s suite) fresh(t *testing.T) (pkcs11.Module, Bay) {
	t.Helper()
	b := NewBay(t)
	return s.open(t, b), b
}

// shimmed opens it on a bay behind a shim.
func (s suite) shimmed(t *testing.T) (pkcs11.Module, Shim) {
	t.Helper()
	shim := NewShim(t, NewBay(t))
	return s.open(t, shim.Bay), shim
}

func slots(t *testing.T, m pkcs11.Module) []pkcs11.Slot {
	t.Helper()
	all, err := m.Slots(t.Context())
	check(t, err)
	return all
}

// openBlank opens the uninitialised token.
func openBlank(t *testing.T, m pkcs11.Module) pkcs11.Token {
	t.Helper()
	for _, slot := range slots(t, m) {
		if slot.Token != nil && !slot.Token.Initialized() {
			return openID(t, m, slot.Identity())
		}
	}
	t.Fatal("there is no uninitialised token")
	return nil
}

func openID(t *testing.T, m pkcs11.Module, id pkcs11.Identity) pkcs11.Token {
	t.Helper()
	token, err := m.Open(t.Context(), id)
	check(t, err)
	t.Cleanup(func() {
		if err := token.Close(); err != nil && !errors.Is(err, pkcs11.ErrClosed) {
			t.Errorf("close token: %v", err)
		}
	})
	return token
}

// initialised is a token with a label and an SO PIN.
func initialised(t *testing.T, m pkcs11.Module, label pkcs11.TokenLabel) pkcs11.Token {
	t.Helper()
	token := openBlank(t, m)
	_, err := token.Init(t.Context(), so(soPIN), label)
	check(t, err)
	return token
}

// loggedIn is a token with both PINs, with its user logged in.
func loggedIn(t *testing.T, m pkcs11.Module, label pkcs11.TokenLabel) pkcs11.Token {
	t.Helper()
	token := initialised(t, m, label)
	ctx := t.Context()
	check(t, token.LoginSO(ctx, so(soPIN)))
	check(t, token.InitUserPIN(ctx, user(userPIN)))
	check(t, token.Logout(ctx))
	check(t, token.LoginUser(ctx, user(userPIN)))
	return token
}

func algorithm(t *testing.T, name string) pkcs11.Algorithm {
	t.Helper()
	a, err := pkcs11.AlgorithmByName(name)
	check(t, err)
	return a
}

// generate makes an EC key with an id.
func generate(t *testing.T, token pkcs11.Token, id pkcs11.KeyID, label string) pkcs11.Object {
	t.Helper()
	o, err := token.GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{
		Algorithm: algorithm(t, "ec-p256"), ID: id, Label: label,
	})
	check(t, err)
	return o
}

func objects(t *testing.T, token pkcs11.Token, q pkcs11.Query) []pkcs11.Object {
	t.Helper()
	all, err := token.Objects(t.Context(), q)
	check(t, err)
	return all
}

func of(class pkcs11.ObjectClass) *pkcs11.ObjectClass { return &class }

func cancelledContext(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
