package qualify_test

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
)

// What a child's environment asks of the tokens in it, for models that SoftHSM is not.
const (
	// pickyAttributes are refused in key templates, as "CKA_A CKA_B".
	pickyAttributes = "QUALIFY_TEST_REFUSES"
	// pickyKeyID is given to every key, whatever is asked for.
	pickyKeyID = "QUALIFY_TEST_KEY_ID"
)

func openPicky(path, reserved string) (pkcs11.Module, error) {
	m, err := cryptoki.Open(path, reserved)
	if err != nil {
		return nil, err
	}
	return pickyModule{m}, nil
}

// pickyModule is a module with tokens that do not take everything.
type pickyModule struct{ pkcs11.Module }

func (m pickyModule) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := m.Module.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return pickyToken{t}, nil
}

type pickyToken struct{ pkcs11.Token }

func (t pickyToken) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (pkcs11.Object, error) {
	refuses := strings.Fields(os.Getenv(pickyAttributes))
	if k.Algorithm.ModulusBits == 0 { // other templates do not have it
		refuses = slices.DeleteFunc(refuses, func(n string) bool { return n == "CKA_PUBLIC_EXPONENT" })
	}
	for _, name := range refuses {
		if !slices.Contains(k.Omit, name) {
			return pkcs11.Object{}, pkcs11.CodeError("C_GenerateKeyPair", 0xD1) // CKR_TEMPLATE_INCONSISTENT
		}
	}
	// SoftHSM has defaults of its own for what is left out; a token that wants an
	// attribute left out has the one that is right.
	k.Omit = slices.DeleteFunc(slices.Clone(k.Omit), func(n string) bool { return slices.Contains(refuses, n) })
	if id := os.Getenv(pickyKeyID); id != "" {
		k.ID = pkcs11.KeyID(id)
	}
	return t.Token.GenerateKeyPair(ctx, k)
}

// officersModule is a module on whose tokens only the security officer may write
// (ykcs11). SoftHSM lets only the user do so; what the officer writes is written by
// the user, whose PIN is remembered from when it was set.
type officersModule struct {
	pkcs11.Module
	pins *struct {
		so   pkcs11.SOPIN
		user pkcs11.UserPIN
	}
}

func (m officersModule) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := m.Module.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &officersToken{t, m, false}, nil
}

type officersToken struct {
	pkcs11.Token
	m       officersModule
	officer bool // is logged in, as far as the caller knows
}

func (t *officersToken) LoginSO(ctx context.Context, pin pkcs11.SOPIN) error {
	err := t.Token.LoginSO(ctx, pin)
	t.m.pins.so, t.officer = pin, err == nil
	return err
}

func (t *officersToken) Logout(ctx context.Context) error {
	t.officer = false
	return t.Token.Logout(ctx)
}

func (t *officersToken) InitUserPIN(ctx context.Context, pin pkcs11.UserPIN) error {
	t.m.pins.user = pin
	return t.Token.InitUserPIN(ctx, pin)
}

func (t *officersToken) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	t.m.pins.user = new
	return t.Token.SetUserPIN(ctx, old, new)
}

func (t *officersToken) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (key pkcs11.Object, err error) {
	err = t.write(ctx, func() (err error) { key, err = t.Token.GenerateKeyPair(ctx, k); return err })
	return key, err
}

func (t *officersToken) WriteCertificate(ctx context.Context, c pkcs11.CertificateObject) error {
	return t.write(ctx, func() error { return t.Token.WriteCertificate(ctx, c) })
}

func (t *officersToken) Destroy(ctx context.Context, q pkcs11.Query) (n int, err error) {
	err = t.write(ctx, func() (err error) { n, err = t.Token.Destroy(ctx, q); return err })
	return n, err
}

func (t *officersToken) write(ctx context.Context, write func() error) error {
	if !t.officer {
		return pkcs11.CodeError("write", 0x101) // CKR_USER_NOT_LOGGED_IN
	}
	for _, step := range []func() error{
		func() error { return t.Token.Logout(ctx) },
		func() error { return t.Token.LoginUser(ctx, t.m.pins.user) },
		write,
		func() error { return t.Token.Logout(ctx) },
		func() error { return t.Token.LoginSO(ctx, t.m.pins.so) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
