package worker

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// token is a token that a child holds open.
type token struct {
	p      *Process
	number uint64
	id     pkcs11.Identity
	// unknown is set when a C_InitToken was left before it answered: the token
	// may or may not have another identity now.
	unknown bool
	closed  bool
	// found is set while the child has a session on the token, which spares a look
	// through all slots.
	found atomic.Bool
}

func (t *token) call(ctx context.Context, op operation, args func(*encoder), result func(*decoder)) error {
	switch {
	case t.closed:
		return &pkcs11.Error{Op: op.String(), Kind: pkcs11.ErrClosed, Detail: "the token was closed"}
	case t.unknown:
		return &pkcs11.Error{
			Op: op.String(), Kind: pkcs11.ErrTokenReplaced,
			Detail: "the end of its initialisation was not waited for; open it anew",
		}
	}
	err := t.p.callOn(ctx, op, waitsForBus(op) || !t.found.Load(), func(e *encoder) {
		e.uint(t.number)
		if args != nil {
			args(e)
		}
	}, result)
	t.found.Store(err == nil && (t.found.Load() || opensSession(op)))
	return err
}

// opensSession tells which calls leave a session on their token when they succeed.
func opensSession(op operation) bool {
	return op != opTokenInfo && op != opMechanisms && op != opTokenClose && op != opLogout
}

// Identity implements pkcs11.Token.
func (t *token) Identity() pkcs11.Identity { return t.id }

// Info implements pkcs11.Token.
func (t *token) Info(ctx context.Context) (info pkcs11.TokenInfo, err error) {
	err = t.call(ctx, opTokenInfo, nil, func(d *decoder) { info = d.tokenInfo() })
	return info, err
}

// Init implements pkcs11.Token.
func (t *token) Init(ctx context.Context, so pkcs11.SOPIN, label pkcs11.TokenLabel) (info pkcs11.TokenInfo, err error) {
	err = t.call(ctx, opInit,
		func(e *encoder) { e.string(so.Reveal()); e.string(string(label)) },
		func(d *decoder) { info, t.id = d.tokenInfo(), d.identity() })
	_, t.unknown = errors.AsType[*leftError](err)
	return info, err
}

// LoginSO implements pkcs11.Token.
func (t *token) LoginSO(ctx context.Context, so pkcs11.SOPIN) error {
	return t.call(ctx, opLoginSO, func(e *encoder) { e.string(so.Reveal()) }, nil)
}

// LoginUser implements pkcs11.Token.
func (t *token) LoginUser(ctx context.Context, user pkcs11.UserPIN) error {
	return t.call(ctx, opLoginUser, func(e *encoder) { e.string(user.Reveal()) }, nil)
}

// Logout implements pkcs11.Token.
func (t *token) Logout(ctx context.Context) error { return t.call(ctx, opLogout, nil, nil) }

// InitUserPIN implements pkcs11.Token.
func (t *token) InitUserPIN(ctx context.Context, user pkcs11.UserPIN) error {
	return t.call(ctx, opInitUserPIN, func(e *encoder) { e.string(user.Reveal()) }, nil)
}

// SetSOPIN implements pkcs11.Token.
func (t *token) SetSOPIN(ctx context.Context, old, new pkcs11.SOPIN) error {
	return t.call(ctx, opSetSOPIN, func(e *encoder) { e.string(old.Reveal()); e.string(new.Reveal()) }, nil)
}

// SetUserPIN implements pkcs11.Token.
func (t *token) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	return t.call(ctx, opSetUserPIN, func(e *encoder) { e.string(old.Reveal()); e.string(new.Reveal()) }, nil)
}

// Mechanisms implements pkcs11.Token.
func (t *token) Mechanisms(ctx context.Context) (list []pkcs11.MechanismInfo, err error) {
	err = t.call(ctx, opMechanisms, nil, func(d *decoder) { list = d.mechanisms() })
	return list, err
}

// Objects implements pkcs11.Token.
func (t *token) Objects(ctx context.Context, q pkcs11.Query) (objects []pkcs11.Object, err error) {
	err = t.call(ctx, opObjects, func(e *encoder) { e.query(q) }, func(d *decoder) { objects = d.objects() })
	return objects, err
}

// GenerateKeyPair implements pkcs11.Token.
func (t *token) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (public pkcs11.Object, err error) {
	err = t.call(ctx, opGenerateKeyPair, func(e *encoder) { e.keyPairTemplate(k) }, func(d *decoder) { public = d.object() })
	return public, err
}

// Sign implements pkcs11.Token.
func (t *token) Sign(ctx context.Context, id pkcs11.KeyID, m pkcs11.Mechanism, input []byte) (signature []byte, err error) {
	err = t.call(ctx, opSign,
		func(e *encoder) { e.bytes(id); e.uint(uint64(m)); e.bytes(input) },
		func(d *decoder) { signature = d.bytes() })
	return signature, err
}

// WriteCertificate implements pkcs11.Token.
func (t *token) WriteCertificate(ctx context.Context, c pkcs11.CertificateObject) error {
	return t.call(ctx, opWriteCertificate, func(e *encoder) { e.certificate(c) }, nil)
}

// Destroy implements pkcs11.Token.
func (t *token) Destroy(ctx context.Context, q pkcs11.Query) (n int, err error) {
	err = t.call(ctx, opDestroy, func(e *encoder) { e.query(q) }, func(d *decoder) { n = d.int() })
	return n, err
}

// Close implements pkcs11.Token. A token whose child has ended is closed by that.
func (t *token) Close() error {
	if t.closed || !t.p.Healthy() {
		t.closed = true
		return nil
	}
	t.unknown = false
	err := t.call(context.Background(), opTokenClose, nil, nil)
	t.closed = true
	if err != nil {
		t.p.spoil()
	}
	return err
}
