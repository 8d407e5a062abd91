package pkcs11test

import (
	"cmp"
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
	// NewBay makes the bays, SoftHSM's when nil. What a test does to a module from
	// outside, by the shim or by SoftHSM's tool, is done to SoftHSM alone.
	NewBay func(testing.TB) Bay
	// Manufacturer is C_GetInfo's; "SoftHSM" when "".
	Manufacturer string
	// Quirks are the module's.
	Quirks Quirks
}

// Conformance is what every implementation of pkcs11.Module and pkcs11.Token
// passes. Each part has a bay of its own.
func Conformance(t *testing.T, open Opener, opts Options) {
	s := suite{open: open, opts: opts, soPIN: cmp.Or(opts.Quirks.FactorySOPIN, soPIN)}
	softHSM, provisions := opts.NewBay == nil, !opts.Quirks.EmptySOPIN
	for _, part := range []struct {
		name string
		run  func(*testing.T)
		here bool
	}{
		{"module", s.module, true},
		{"blank slot", s.blankSlot, softHSM},
		{"open", s.openToken, true},
		{"init", s.init, provisions},
		{"init labels", s.initLabels, provisions},
		{"init with a wrong SO PIN", s.initWrongPIN, provisions},
		{"init again", s.initAgain, provisions},
		{"init beside an open session", s.initSessionExists, provisions},
		{"init beside a session that could not be closed", s.initSessionLeft, softHSM},
		{"init of two tokens", s.initTwo, softHSM},
		{"login", s.login, provisions},
		{"user PIN", s.userPIN, provisions},
		{"change user PIN", s.changeUserPIN, true},
		{"mechanisms", s.mechanisms, true},
		{"SO PIN", s.changeSOPIN, provisions},
		{"keys", s.keys, true},
		{"key refusals", s.keyRefusals, true},
		{"sign", s.sign, true},
		{"certificates", s.certificates, true},
		{"foreign certificate", s.foreignCertificate, softHSM},
		{"objects", s.objects, true},
		{"destroy", s.destroy, true},
		{"close", s.closed, true},
		{"cancelled", s.cancelled, softHSM},
		{"initialised by someone else", s.initialisedOutside, softHSM},
		{"deleted by someone else", s.deletedOutside, softHSM},
		{"PIN flags", s.pinFlags, softHSM},
		{"init flags", s.initFlags, softHSM},
		{"already logged in", s.alreadyLoggedIn, softHSM},
		{"two tokens of one serial", s.ambiguous, softHSM},
		{"replaced", s.replaced, softHSM},
		{"return codes", s.returnCodes, softHSM},
		{"search is ended", s.searchEnded, softHSM},
		{"bad slot among good", s.badSlot, softHSM},
		{"found again after restart", s.restart, softHSM},
		{"calls are spared", s.calls, softHSM},
		{"declared quirks", s.quirks, opts.Quirks != Quirks{}},
	} {
		if part.here {
			t.Run(part.name, part.run)
		}
	}
}

type suite struct {
	open  Opener
	opts  Options
	soPIN string // opens a token after Init
}

// PINs of the suite, of a length that every module takes (openCryptoki: 4 to 8).
const (
	soPIN      = "so-pin86"
	otherSOPIN = "so-pin97"
	userPIN    = "user1357"
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
	newBay := s.opts.NewBay
	if newBay == nil {
		newBay = NewBay
	}
	b := newBay(t)
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
func (s suite) openBlank(t *testing.T, m pkcs11.Module) pkcs11.Token {
	t.Helper()
	for _, slot := range slots(t, m) {
		if slot.Token != nil && !slot.Token.Initialized() {
			return openID(t, m, s.identity(slot))
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
func (s suite) initialised(t *testing.T, m pkcs11.Module, label pkcs11.TokenLabel) pkcs11.Token {
	t.Helper()
	token := s.openBlank(t, m)
	_, err := token.Init(t.Context(), so(s.soPIN), label)
	check(t, err)
	return token
}

// loggedIn is a token with both PINs, with its user logged in. Its label is the
// bay's where tokens come provisioned.
func (s suite) loggedIn(t *testing.T, m pkcs11.Module, label pkcs11.TokenLabel) pkcs11.Token {
	t.Helper()
	if s.opts.Quirks.EmptySOPIN {
		token := openID(t, m, s.identity(s.provisioned(t, m)))
		check(t, token.LoginUser(t.Context(), user(userPIN)))
		return token
	}
	token := s.initialised(t, m, label)
	ctx := t.Context()
	check(t, token.LoginSO(ctx, so(s.soPIN)))
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

// generate makes a key with an id.
func (s suite) generate(t *testing.T, token pkcs11.Token, id pkcs11.KeyID, label string) pkcs11.Object {
	t.Helper()
	o, err := token.GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{
		Algorithm: s.quick(t), ID: id, Label: label,
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
