package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// The way of a job whose order was cancelled when there may be a key on its token.

// wipePlan is what a withdrawn job still does.
func wipePlan() []Step {
	return []Step{
		{Name: StepWipe, Effect: EffectRepeatable, WritesToken: true, run: wipe},
		{Name: StepProveWiped, Effect: EffectReads, run: proveWiped},
	}
}

// planOf is the plan of a job as the journal has it.
func planOf(rec *Record) []Step {
	if rec.Facts.Withdrawn {
		return wipePlan()
	}
	return Plan(rec.Job)
}

// mayHaveKey reports whether C_GenerateKeyPair may have happened: the journal has its intent.
func (j *run) mayHaveKey() bool {
	at := func(name StepName) int {
		return slices.IndexFunc(j.steps, func(s Step) bool { return s.Name == name })
	}
	return at(j.rec.Step) >= at(StepGenerateKey)
}

// withdraw makes it durable that the key on the token is to be destroyed and nothing
// else is to happen there.
func (j *run) withdraw() error {
	f := &j.rec.Facts
	before := *f
	f.Withdrawn, f.Bound = true, f.Bound && !j.unsent
	if err := j.commit(StepWipe); err != nil {
		*f = before
		return err
	}
	j.steps = wipePlan()
	return nil
}

// wipe destroys all that is on the token: it was blank when the job began, so all of it
// is the job's. A model that has a fixed place for its key may not let it be destroyed
// (YubiKeys before firmware 5.7): there another key, whose public half nobody ever gets,
// takes its place, and so does away with it.
func wipe(ctx context.Context, j *run) error {
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	if profile.ForcesChange {
		pin, err := j.userPIN()
		if err != nil {
			return err
		}
		if err := j.setUserPINTwice(ctx, pin); err != nil { // it may have its first PIN by now
			return err
		}
	}
	if len(profile.KeyID) > 0 {
		if err := j.replaceKey(ctx, profile); err != nil {
			return err
		}
	}
	objects, err := j.leftOn(ctx, profile)
	if err != nil {
		return err
	}
	token, err := j.loginAs(ctx, profile.writer())
	if err != nil {
		return err
	}
	for _, o := range objects {
		// What one call destroyed with it, as some models do, is not found by the next.
		if _, err := token.Destroy(ctx, pkcs11.Query{Class: &o.Class, ID: o.ID}); err != nil {
			return err
		}
	}
	return nil
}

// replaceKey makes another key where the job's is, unless that has happened. Which key
// is the job's is durable before.
func (j *run) replaceKey(ctx context.Context, profile *TokenProfile) error {
	token, err := j.loginAs(ctx, loginUser)
	if err != nil {
		return err
	}
	class := pkcs11.ClassPublicKey
	keys, err := token.Objects(ctx, pkcs11.Query{Class: &class, ID: j.rec.Facts.KeyID})
	if err != nil || len(keys) == 0 {
		return err
	}
	if len(j.rec.Facts.PublicKey) == 0 {
		j.rec.Facts.PublicKey = keys[0].PublicKey
		if err := j.commit(StepWipe); err != nil {
			return err
		}
	}
	if !bytes.Equal(keys[0].PublicKey, j.rec.Facts.PublicKey) {
		return nil
	}
	product, err := j.ordered()
	if err != nil {
		return err
	}
	if token, err = j.loginAs(ctx, profile.writer()); err != nil {
		return err
	}
	_, err = token.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{
		Algorithm: product.Algorithm, ID: j.rec.Facts.KeyID, Label: string(j.rec.Job.TokenLabel), Omit: profile.OmitAttributes,
	})
	return err
}

// leftOn is what of the job's is still on the token, as its user sees it.
func (j *run) leftOn(ctx context.Context, profile *TokenProfile) ([]pkcs11.Object, error) {
	token, err := j.loginAs(ctx, loginUser)
	if err != nil {
		return nil, err
	}
	objects, err := token.Objects(ctx, pkcs11.Query{})
	if err != nil {
		return nil, err
	}
	replaced := len(profile.KeyID) > 0 && !slices.ContainsFunc(objects, func(o pkcs11.Object) bool {
		return o.Class == pkcs11.ClassPublicKey && bytes.Equal(o.PublicKey, j.rec.Facts.PublicKey)
	})
	return slices.DeleteFunc(profile.ours(objects), func(o pkcs11.Object) bool {
		return replaced && o.Class != pkcs11.ClassCertificate
	}), nil
}

// proveWiped looks for anything that is left, in a fresh session.
func proveWiped(ctx context.Context, j *run) error {
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	j.reopen(j.rec.Token.Identity)
	left, err := j.leftOn(ctx, profile)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: %d objects are still there, the first with CKA_ID %s", ErrNotWiped, len(left), left[0].ID)
	}
	return nil
}

// withdrawn ends a job whose key is destroyed. The token is ours and empty; it is not
// blank, and opens only with the SO PIN in escrow.
func (j *run) withdrawn() error {
	e := &StepError{
		Step: StepProveWiped, Class: ClassTerminal, Err: fmt.Errorf("%w; the key on the token is destroyed", ErrCancelled),
		Hint: hintWiped,
	}
	state, err := Advance(j.rec.State, EventIsolate)
	if err != nil {
		return errors.Join(e, err)
	}
	j.rec.Reason, j.rec.Hint, j.rec.Waiting = e.Err.Error(), e.Hint, WaitingNothing
	report := j.endReport(ErrCancelled)
	if j.rec.Facts.Bound {
		report.Outcome = OutcomeDestroyed
	}
	last := len(j.steps) - 1
	if err := j.end(state, report); err != nil {
		return j.stop(last, err)
	}
	j.tell(last)
	return e
}
