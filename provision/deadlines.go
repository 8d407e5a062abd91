package provision

import (
	"context"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// timed is a token every call on which has the time that its model may take. A
// module's process has bounds of its own, the longest of all models that may be
// behind it; which model it is shows only once a token is open.
type timed struct {
	pkcs11.Token
	p *TokenProfile
}

// within bounds a context; without a bound it stays as it is.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

func (t timed) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := within(ctx, t.p.WorstCall)
	defer cancel()
	return f(ctx)
}

// Init implements pkcs11.Token.
func (t timed) Init(ctx context.Context, so pkcs11.SOPIN, label pkcs11.TokenLabel) (pkcs11.TokenInfo, error) {
	ctx, cancel := within(ctx, t.p.WorstInit)
	defer cancel()
	return t.Token.Init(ctx, so, label)
}

// GenerateKeyPair implements pkcs11.Token.
func (t timed) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (pkcs11.Object, error) {
	ctx, cancel := within(ctx, t.p.WorstKeyGeneration)
	defer cancel()
	return t.Token.GenerateKeyPair(ctx, k)
}

// Info implements pkcs11.Token.
func (t timed) Info(ctx context.Context) (info pkcs11.TokenInfo, err error) {
	err = t.call(ctx, func(ctx context.Context) error { info, err = t.Token.Info(ctx); return err })
	return info, err
}

// LoginSO implements pkcs11.Token.
func (t timed) LoginSO(ctx context.Context, so pkcs11.SOPIN) error {
	return t.call(ctx, func(ctx context.Context) error { return t.Token.LoginSO(ctx, so) })
}

// LoginUser implements pkcs11.Token.
func (t timed) LoginUser(ctx context.Context, user pkcs11.UserPIN) error {
	return t.call(ctx, func(ctx context.Context) error { return t.Token.LoginUser(ctx, user) })
}

// Logout implements pkcs11.Token.
func (t timed) Logout(ctx context.Context) error {
	return t.call(ctx, func(ctx context.Context) error { return t.Token.Logout(ctx) })
}

// InitUserPIN implements pkcs11.Token.
func (t timed) InitUserPIN(ctx context.Context, user pkcs11.UserPIN) error {
	return t.call(ctx, func(ctx context.Context) error { return t.Token.InitUserPIN(ctx, user) })
}

// SetSOPIN implements pkcs11.Token.
func (t timed) SetSOPIN(ctx context.Context, old, new pkcs11.SOPIN) error {
	return t.call(ctx, func(ctx context.Context) error { return t.Token.SetSOPIN(ctx, old, new) })
}

// SetUserPIN implements pkcs11.Token.
func (t timed) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	return t.call(ctx, func(ctx context.Context) error { return t.Token.SetUserPIN(ctx, old, new) })
}

// Objects implements pkcs11.Token.
func (t timed) Objects(ctx context.Context, q pkcs11.Query) (objects []pkcs11.Object, err error) {
	err = t.call(ctx, func(ctx context.Context) error { objects, err = t.Token.Objects(ctx, q); return err })
	return objects, err
}

// Sign implements pkcs11.Token.
func (t timed) Sign(ctx context.Context, id pkcs11.KeyID, m pkcs11.Mechanism, input []byte) (signature []byte, err error) {
	err = t.call(ctx, func(ctx context.Context) error { signature, err = t.Token.Sign(ctx, id, m, input); return err })
	return signature, err
}

// WriteCertificate implements pkcs11.Token.
func (t timed) WriteCertificate(ctx context.Context, c pkcs11.CertificateObject) error {
	return t.call(ctx, func(ctx context.Context) error { return t.Token.WriteCertificate(ctx, c) })
}

// Destroy implements pkcs11.Token.
func (t timed) Destroy(ctx context.Context, q pkcs11.Query) (n int, err error) {
	err = t.call(ctx, func(ctx context.Context) error { n, err = t.Token.Destroy(ctx, q); return err })
	return n, err
}
