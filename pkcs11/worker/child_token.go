package worker

import (
	"context"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// doToken carries out an operation on a token, whose number comes first.
func (s *server) doToken(ctx context.Context, op operation, d *decoder, e *encoder) error {
	n := d.uint()
	call, ok := tokenCall(op, d)
	if !ok || d.end() != nil {
		return malformed(d)
	}
	token, ok := s.tokens[n]
	if !ok {
		return &pkcs11.Error{Op: op.String(), Kind: pkcs11.ErrClosed, Detail: "the token was closed"}
	}
	if op == opTokenClose {
		delete(s.tokens, n)
	}
	return call(ctx, token, e)
}

// tokenCall decodes the arguments of an operation on a token and returns the
// call, not yet made. It is false for an operation that does not exist.
func tokenCall(op operation, d *decoder) (func(context.Context, pkcs11.Token, *encoder) error, bool) {
	type (
		ctxT = context.Context
		tokT = pkcs11.Token
	)
	switch op {
	case opTokenInfo:
		return func(ctx ctxT, t tokT, e *encoder) error {
			info, err := t.Info(ctx)
			e.tokenInfo(info)
			return err
		}, true
	case opInit:
		so, label := pkcs11.NewSOPIN(d.string()), pkcs11.TokenLabel(d.string())
		return func(ctx ctxT, t tokT, e *encoder) error {
			info, err := t.Init(ctx, so, label)
			e.tokenInfo(info)
			e.identity(t.Identity())
			return err
		}, true
	case opLoginSO:
		so := pkcs11.NewSOPIN(d.string())
		return func(ctx ctxT, t tokT, _ *encoder) error { return t.LoginSO(ctx, so) }, true
	case opLoginUser:
		user := pkcs11.NewUserPIN(d.string())
		return func(ctx ctxT, t tokT, _ *encoder) error { return t.LoginUser(ctx, user) }, true
	case opLogout:
		return func(ctx ctxT, t tokT, _ *encoder) error { return t.Logout(ctx) }, true
	case opInitUserPIN:
		user := pkcs11.NewUserPIN(d.string())
		return func(ctx ctxT, t tokT, _ *encoder) error { return t.InitUserPIN(ctx, user) }, true
	case opSetSOPIN:
		old, new := pkcs11.NewSOPIN(d.string()), pkcs11.NewSOPIN(d.string())
		return func(ctx ctxT, t tokT, _ *encoder) error { return t.SetSOPIN(ctx, old, new) }, true
	case opSetUserPIN:
		old, new := pkcs11.NewUserPIN(d.string()), pkcs11.NewUserPIN(d.string())
		return func(ctx ctxT, t tokT, _ *encoder) error { return t.SetUserPIN(ctx, old, new) }, true
	case opMechanisms:
		return func(ctx ctxT, t tokT, e *encoder) error {
			list, err := t.Mechanisms(ctx)
			e.mechanisms(list)
			return err
		}, true
	case opObjects:
		q := d.query()
		return func(ctx ctxT, t tokT, e *encoder) error {
			objects, err := t.Objects(ctx, q)
			e.objects(objects)
			return err
		}, true
	case opGenerateKeyPair:
		k := d.keyPairTemplate()
		return func(ctx ctxT, t tokT, e *encoder) error {
			o, err := t.GenerateKeyPair(ctx, k)
			e.object(o)
			return err
		}, true
	case opSign:
		id, m, input := pkcs11.KeyID(d.bytes()), pkcs11.Mechanism(d.uint()), d.bytes()
		return func(ctx ctxT, t tokT, e *encoder) error {
			signature, err := t.Sign(ctx, id, m, input)
			e.bytes(signature)
			return err
		}, true
	case opWriteCertificate:
		c := d.certificate()
		return func(ctx ctxT, t tokT, _ *encoder) error { return t.WriteCertificate(ctx, c) }, true
	case opDestroy:
		q := d.query()
		return func(ctx ctxT, t tokT, e *encoder) error {
			n, err := t.Destroy(ctx, q)
			e.int(n)
			return err
		}, true
	case opTokenClose:
		return func(_ ctxT, t tokT, _ *encoder) error { return t.Close() }, true
	default:
		return nil, false
	}
}
