package provision

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// The steps that make the key on the token and bind its request.

// observeGenerateKey asks the token for the journalled CKA_ID: a whole pair was
// made by this job; half a pair is removed, and what was left of an object that was being
// made when its module died; anything else is not ours.
func observeGenerateKey(ctx context.Context, j *run) (Observed, error) {
	token, err := j.loginAs(ctx, loginUser)
	if err != nil {
		return NotDone, err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return NotDone, err
	}
	objects, err := token.Objects(ctx, pkcs11.Query{})
	if err != nil {
		return NotDone, err
	}
	private, public := 0, 0
	for _, o := range profile.ours(objects) {
		switch {
		case o.Class == pkcs11.ClassPrivateKey && o.ID.Equal(j.rec.Facts.KeyID):
			private++
		case o.Class == pkcs11.ClassPublicKey && o.ID.Equal(j.rec.Facts.KeyID):
			public++
			j.rec.Facts.PublicKey, j.dirty = o.PublicKey, true
		case o.Class == pkcs11.ClassCertificate && len(profile.KeyID) > 0 && o.ID.Equal(profile.KeyID):
			// ykcs11 makes a certificate with the key, which ours replaces.
		default:
			return NotDone, fmt.Errorf("%w: an object with CKA_ID %s", ErrUnexpected, o.ID)
		}
	}
	switch {
	case private == 1 && public == 1:
		return Done, nil
	case private > 1 || public > 1:
		return NotDone, fmt.Errorf("%w: more than one key with CKA_ID %s", ErrUnexpected, j.rec.Facts.KeyID)
	case private+public == 0 && !leavesRemains(profile, j.rec.Facts):
		return NotDone, nil
	}
	j.rec.Facts.PublicKey = nil
	if err := j.lease.Check(0, false); err != nil {
		return NotDone, err
	}
	if token, err = j.loginAs(ctx, profile.writer()); err != nil {
		return NotDone, err
	}
	if private+public > 0 {
		if _, err = token.Destroy(ctx, pkcs11.Query{ID: j.rec.Facts.KeyID}); err != nil {
			return NotDone, err
		}
	}
	return NotDone, j.removeRemains(ctx, profile, token)
}

// leavesRemains says that there can be objects that were not finished, and all of them this
// job's: SoftHSM writes an object down before it says that it belongs to the token, and has its
// CKA_ID. Not on a model that shows objects of its own, nor on one that this job did not initialise.
func leavesRemains(profile *TokenProfile, f Facts) bool {
	return isInitialised(f) && len(profile.OwnLabels) == 0
}

// removeRemains destroys halves of keys that a module had not finished when it died.
func (j *run) removeRemains(ctx context.Context, profile *TokenProfile, token pkcs11.Token) error {
	if !leavesRemains(profile, j.rec.Facts) {
		return nil
	}
	for _, class := range []pkcs11.ObjectClass{pkcs11.ClassPrivateKey, pkcs11.ClassPublicKey} {
		if _, err := token.Destroy(ctx, pkcs11.Query{Class: &class, Passing: true}); err != nil {
			return err
		}
	}
	return nil
}

func generateKey(ctx context.Context, j *run) error {
	product, err := j.ordered()
	if err != nil {
		return err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	if err := j.lease.Check(profile.WorstKeyGeneration, false); err != nil {
		return err
	}
	token, err := j.loginAs(ctx, profile.writer())
	if err != nil {
		return err
	}
	key, err := token.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{
		Algorithm: product.Algorithm, ID: j.rec.Facts.KeyID,
		Label: string(j.rec.Job.TokenLabel), Omit: profile.OmitAttributes,
	})
	if err != nil {
		return err
	}
	j.rec.Facts.KeyID, j.rec.Facts.PublicKey, j.dirty = key.ID, key.PublicKey, true
	if isInitialised(j.rec.Facts) {
		j.made = &key.Claims
	}
	return nil
}

// checkKey has the public key pass the quality gate, and reads the private key's
// attributes back. What the module says of the private key is a claim; a
// module that does not even claim it is refused.
func checkKey(ctx context.Context, j *run) error {
	product, err := j.ordered()
	if err != nil {
		return err
	}
	if err := j.Keys.check(j.rec.Job.ID, j.rec.Facts.PublicKey, product.Algorithm); err != nil {
		return err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	c, err := j.keyClaims(ctx, profile)
	if err != nil {
		return err
	}
	claims := map[string]string{}
	for _, claim := range []struct {
		name string
		got  pkcs11.Claim
		want pkcs11.Claim
	}{
		{"CKA_PRIVATE", c.Private, pkcs11.ClaimYes},
		{"CKA_SENSITIVE", c.Sensitive, pkcs11.ClaimYes},
		{"CKA_EXTRACTABLE", c.Extractable, pkcs11.ClaimNo},
		{"CKA_NEVER_EXTRACTABLE", c.NeverExtractable, pkcs11.ClaimYes},
		{"CKA_ALWAYS_SENSITIVE", c.AlwaysSensitive, pkcs11.ClaimYes},
		{"CKA_LOCAL", c.Local, pkcs11.ClaimYes},
		{"CKA_SIGN", c.Sign, pkcs11.ClaimYes},
	} {
		if claim.got != claim.want {
			got := string(claim.got)
			if claim.got == pkcs11.ClaimAbsent {
				got = "absent"
			}
			return fmt.Errorf("%w: %s is %s, wanted %s", ErrKeyUnfit, claim.name, got, claim.want)
		}
		claims[claim.name] = string(claim.got)
	}
	j.rec.Facts.Claims, j.dirty = claims, true
	return j.checkAttestation(ctx, profile)
}

// keyClaims is what the module claims of the key: from when it was made, if this run made it
// on a token that it had initialised, which then has no other; else as it is read now, when
// it must be the only one.
func (j *run) keyClaims(ctx context.Context, profile *TokenProfile) (pkcs11.KeyClaims, error) {
	if j.made != nil {
		return *j.made, nil
	}
	token, err := j.loginAs(ctx, loginUser)
	if err != nil {
		return pkcs11.KeyClaims{}, err
	}
	class := pkcs11.ClassPrivateKey
	keys, err := token.Objects(ctx, pkcs11.Query{Class: &class})
	if err != nil {
		return pkcs11.KeyClaims{}, err
	}
	keys = profile.ours(keys)
	if len(keys) != 1 || !keys[0].ID.Equal(j.rec.Facts.KeyID) {
		return pkcs11.KeyClaims{}, fmt.Errorf("%w: %d private keys, wanted the one just made", ErrUnexpected, len(keys))
	}
	return keys[0].Claims, nil
}

// checkAttestation has the statement of the token's maker say that this key was made
// on this token, where the model gives one and the station knows the maker's root.
// Unlike the attributes it is proof.
func (j *run) checkAttestation(ctx context.Context, profile *TokenProfile) error {
	if profile.Attest == nil {
		return nil
	}
	// ykcs11 has the token make attestations when a session is opened.
	j.reopen(j.rec.Token.Identity)
	token, err := j.open(ctx)
	if err != nil {
		return err
	}
	objects, err := token.Objects(ctx, pkcs11.Query{Passing: true})
	if err != nil {
		return err
	}
	own := slices.DeleteFunc(objects, func(o pkcs11.Object) bool { return !profile.own(o) })
	f := &j.rec.Facts
	said, err := profile.Attest(own, f.PublicKey, j.rec.Token.Identity.Serial)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAttested, err)
	}
	f.Attestation, j.dirty = said, true
	return nil
}

// signer is the job's private key, with the user logged in.
func (j *run) signer(ctx context.Context, alg pkcs11.Algorithm) (crypto.Signer, error) {
	token, err := j.loginAs(ctx, loginUser)
	if err != nil {
		return nil, err
	}
	s, err := pkcs11.NewSigner(ctx, token, pkcs11.Object{ID: j.rec.Facts.KeyID, PublicKey: j.rec.Facts.PublicKey}, alg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyUnfit, err)
	}
	return s, nil
}

// buildCSR signs the request on the token. A request that is journalled already is
// kept: the same bytes must reach the central server again.
func buildCSR(ctx context.Context, j *run) error {
	if len(j.rec.Facts.CSR) > 0 {
		return nil
	}
	product, err := j.ordered()
	if err != nil {
		return err
	}
	signer, err := j.signer(ctx, product.Algorithm)
	if err != nil {
		return err
	}
	request, err := product.Profile.Request(j.rec.Job.Subject)
	if err != nil {
		return err
	}
	der, err := csr.Build(signer, request)
	if err != nil {
		return err
	}
	j.rec.Facts.CSR, j.rec.Facts.Bound, j.dirty, j.unsent = der, true, true, true
	return nil
}

// bindCSR sends the request. Bound was made durable with it: from here on the
// central server may have it, unless the answer to the very first sending says
// that it has bound nothing. A later answer does not tell what became of an
// earlier sending.
func bindCSR(ctx context.Context, j *run) error {
	f := &j.rec.Facts
	if !f.Bound {
		// It was refused under an earlier lease, and is tried again under this one.
		f.Bound, j.unsent = true, true
		if err := j.commit(StepBindCSR); err != nil {
			f.Bound = false
			return err
		}
	}
	first := j.unsent
	j.unsent = false
	bundle, err := j.Central.Bind(ctx, Bind{
		UnitID: j.rec.Job.UnitID(), Generation: j.rec.Job.Generation, Epoch: j.lease.Epoch(),
		CSR: f.CSR, TokenSerial: j.rec.Token.Identity.Serial, TokenModel: j.rec.Token.Model,
		KeyID: f.KeyID, EscrowID: f.EscrowID,
	})
	if first && errors.Is(err, ErrNotBound) {
		f.Bound, j.dirty = false, true
	}
	if err != nil {
		return err
	}
	if bundle != nil {
		f.Bundle, j.dirty = bundle, true
	}
	return nil
}
