//go:build crashpoints

package provision

import (
	"context"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// labelled marks every call that a job makes on a module and its tokens.
func labelled(m pkcs11.Module) pkcs11.Module { return labelledModule{m} }

type labelledModule struct{ pkcs11.Module }

type labelledToken struct{ pkcs11.Token }

func mark[T any](l crashpoint.Label, call func() (T, error)) (T, error) {
	crashpoint.Before(l)
	defer crashpoint.After(l)
	return call()
}

func markErr(l crashpoint.Label, call func() error) error {
	crashpoint.Before(l)
	defer crashpoint.After(l)
	return call()
}

// Slots implements pkcs11.Module.
func (m labelledModule) Slots(ctx context.Context) ([]pkcs11.Slot, error) {
	return mark(crashpoint.TokenSlots, func() ([]pkcs11.Slot, error) { return m.Module.Slots(ctx) })
}

// Open implements pkcs11.Module.
func (m labelledModule) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := mark(crashpoint.TokenOpen, func() (pkcs11.Token, error) { return m.Module.Open(ctx, id) })
	if err != nil {
		return nil, err
	}
	return labelledToken{t}, nil
}

// Info implements pkcs11.Token.
func (t labelledToken) Info(ctx context.Context) (pkcs11.TokenInfo, error) {
	return mark(crashpoint.TokenInfo, func() (pkcs11.TokenInfo, error) { return t.Token.Info(ctx) })
}

// Init implements pkcs11.Token.
func (t labelledToken) Init(ctx context.Context, so pkcs11.SOPIN, l pkcs11.TokenLabel) (pkcs11.TokenInfo, error) {
	return mark(crashpoint.TokenInit, func() (pkcs11.TokenInfo, error) { return t.Token.Init(ctx, so, l) })
}

// LoginSO implements pkcs11.Token.
func (t labelledToken) LoginSO(ctx context.Context, so pkcs11.SOPIN) error {
	return markErr(crashpoint.TokenLoginSO, func() error { return t.Token.LoginSO(ctx, so) })
}

// LoginUser implements pkcs11.Token.
func (t labelledToken) LoginUser(ctx context.Context, user pkcs11.UserPIN) error {
	return markErr(crashpoint.TokenLoginUser, func() error { return t.Token.LoginUser(ctx, user) })
}

// Logout implements pkcs11.Token.
func (t labelledToken) Logout(ctx context.Context) error {
	return markErr(crashpoint.TokenLogout, func() error { return t.Token.Logout(ctx) })
}

// InitUserPIN implements pkcs11.Token.
func (t labelledToken) InitUserPIN(ctx context.Context, user pkcs11.UserPIN) error {
	return markErr(crashpoint.TokenInitUserPIN, func() error { return t.Token.InitUserPIN(ctx, user) })
}

// SetSOPIN implements pkcs11.Token.
func (t labelledToken) SetSOPIN(ctx context.Context, old, new pkcs11.SOPIN) error {
	return markErr(crashpoint.TokenSetSOPIN, func() error { return t.Token.SetSOPIN(ctx, old, new) })
}

// SetUserPIN implements pkcs11.Token.
func (t labelledToken) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	return markErr(crashpoint.TokenSetUserPIN, func() error { return t.Token.SetUserPIN(ctx, old, new) })
}

// Objects implements pkcs11.Token.
func (t labelledToken) Objects(ctx context.Context, q pkcs11.Query) ([]pkcs11.Object, error) {
	return mark(crashpoint.TokenObjects, func() ([]pkcs11.Object, error) { return t.Token.Objects(ctx, q) })
}

// GenerateKeyPair implements pkcs11.Token.
func (t labelledToken) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (pkcs11.Object, error) {
	return mark(crashpoint.TokenGenerateKeyPair, func() (pkcs11.Object, error) { return t.Token.GenerateKeyPair(ctx, k) })
}

// Sign implements pkcs11.Token.
func (t labelledToken) Sign(ctx context.Context, id pkcs11.KeyID, m pkcs11.Mechanism, input []byte) ([]byte, error) {
	return mark(crashpoint.TokenSign, func() ([]byte, error) { return t.Token.Sign(ctx, id, m, input) })
}

// WriteCertificate implements pkcs11.Token.
func (t labelledToken) WriteCertificate(ctx context.Context, c pkcs11.CertificateObject) error {
	return markErr(crashpoint.TokenWriteCertificate, func() error { return t.Token.WriteCertificate(ctx, c) })
}

// Destroy implements pkcs11.Token.
func (t labelledToken) Destroy(ctx context.Context, q pkcs11.Query) (int, error) {
	return mark(crashpoint.TokenDestroy, func() (int, error) { return t.Token.Destroy(ctx, q) })
}

// Close implements pkcs11.Token.
func (t labelledToken) Close() error {
	return markErr(crashpoint.TokenClose, t.Token.Close)
}
