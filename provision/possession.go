package provision

import (
	"context"
	"crypto"
	"crypto/rand"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Possession has the token of an unfinished job sign a statement with the job's bound
// key, so that the central server can see where the key is. It reads the token only.
// The error is a *StepError, as of Run.
func (r *Runner) Possession(ctx context.Context, rec *Record, module pkcs11.Module, statement []byte) (signature []byte, hash crypto.Hash, err error) {
	j := &run{Runner: r, rec: rec, module: module, steps: planOf(rec)}
	step := Step{Name: rec.Step}
	ctx = context.WithoutCancel(ctx) // a call into a module always ends by itself
	defer func() {
		if j.token != nil {
			_ = j.token.Close() // whoever uses the token next finds out how it is
		}
		if err != nil {
			err = classify(step, j.judge(ctx, step, err))
		}
	}()
	product, err := j.ordered()
	if err != nil {
		return nil, 0, err
	}
	signer, err := j.signer(ctx, product.Algorithm)
	if err != nil {
		return nil, 0, err
	}
	hash = product.Algorithm.Hash
	h := hash.New()
	h.Write(statement)
	signature, err = signer.Sign(rand.Reader, h.Sum(nil), hash)
	if err == nil {
		err = j.logout(ctx)
	}
	return signature, hash, err
}
