package provision

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// The steps that make a blank token ours, up to the user PIN.

func identify(ctx context.Context, j *run) error {
	info, err := j.tokenInfo(ctx, true)
	if err != nil {
		return err
	}
	if info.Flags.Has(pkcs11.FlagProtectedAuthenticationPath) {
		return fmt.Errorf("%s: %w", j.rec.Token.Identity, pkcs11.ErrPINPad)
	}
	if info.Flags.Has(pkcs11.FlagWriteProtected) {
		return fmt.Errorf("%s: %w", j.rec.Token.Identity, pkcs11.ErrWriteProtected)
	}
	if j.rec.Facts.DeliveredAs, err = j.Delivered(info); err != nil {
		return err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	product, err := j.ordered()
	if err != nil {
		return err
	}
	if n := product.UserPIN.Length; !info.TakesPIN(n) {
		return fmt.Errorf("%w: product %s wants a user PIN of %d characters, the token takes %d to %d", ErrProfileMisfit, product.Code, n, info.MinPINLen, info.MaxPINLen)
	}
	// The bounds say nothing of SO PINs that are keys (ykcs11: 48 hexadecimal digits).
	if n := profile.SOPIN.Length; !profile.AsMade && !info.TakesPIN(n) {
		return fmt.Errorf("%w: token profile %s wants an SO PIN of %d characters, the token takes %d to %d", ErrProfileMisfit, profile.Name, n, info.MinPINLen, info.MaxPINLen)
	}
	if err := delivers(product, profile, info); err != nil {
		return err
	}
	// An order that does not fit is found before it costs a token.
	if _, err := product.Profile.Request(j.rec.Job.Subject); err != nil {
		return err
	}
	j.rec.Token.Model = info.Model
	j.rec.Facts.AsMade, j.dirty = profile.AsMade, true
	if profile.AsMade {
		j.rec.Facts.MadeLabel = info.Label
	}
	return nil
}

// checkBlank accepts an uninitialised token, or one that opens with the model's
// factory SO PIN, has no user PIN and shows no object. The factory SO PIN is tried
// once: that it is about to be is durable before.
func checkBlank(ctx context.Context, j *run) error {
	info, err := j.tokenInfo(ctx, true)
	if err != nil {
		return err
	}
	f := &j.rec.Facts
	if f.Factory {
		return nil
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	if !info.Initialized() {
		// Where the model has a factory SO PIN the token is initialised with that and
		// then given its own, whether it wants that one (openCryptoki) or takes any.
		f.Blank, f.Lot = !profile.FactorySOPIN.IsZero(), profile.Name
		j.dirty = true
		return nil
	}
	given, err := j.Journal.LabelGiven(j.rec, info.Label)
	if err != nil {
		return err
	}
	describe := fmt.Sprintf("%s, label %q", j.rec.Token.Identity, string(info.Label))
	switch {
	case profile.FactorySOPIN.IsZero():
		return fmt.Errorf("%w: %s, is initialised already", ErrNotBlank, describe)
	case info.Flags.Has(pkcs11.FlagUserPINInitialized) && !profile.AsMade:
		// Private objects show themselves to the user only; a user PIN says that there may be some.
		return fmt.Errorf("%w: %s, has a user PIN", ErrNotBlank, describe)
	case given:
		return fmt.Errorf("%w: %s, was initialised by this station", ErrNotBlank, describe)
	case f.FactoryTried && !profile.SOPINUncounted:
		return fmt.Errorf("%s: %w", j.rec.Token.Identity, ErrFactoryTried)
	}
	objects, err := j.token.Objects(ctx, pkcs11.Query{})
	if err != nil {
		return err
	}
	if objects = profile.ours(objects); len(objects) > 0 {
		return fmt.Errorf("%w: %s, holds %d objects", ErrNotBlank, describe, len(objects))
	}
	f.FactoryTried, f.Lot = true, profile.Name
	if err := j.commit(StepCheckBlank); err != nil {
		f.FactoryTried = false
		return err
	}
	if err := j.token.LoginSO(ctx, profile.FactorySOPIN); err != nil {
		if errors.Is(err, pkcs11.ErrPINIncorrect) || errors.Is(err, pkcs11.ErrPINLastTry) || errors.Is(err, pkcs11.ErrPINLocked) {
			return fmt.Errorf("%w %s: %w", ErrFactorySOPIN, j.rec.Token.Identity, err)
		}
		return err
	}
	f.Factory = true
	if err := j.commit(StepCheckBlank); err != nil {
		return err
	}
	return j.token.Logout(ctx)
}

// isInitialised says that the token's model is initialised by C_InitToken.
func isInitialised(f Facts) bool { return !f.AsMade }

// hasFactoryPIN says that the token's SO PIN is the factory's, which must be replaced.
func hasFactoryPIN(f Facts) bool { return f.Factory }

// cameInitialised says that the token was initialised when it was found.
func cameInitialised(f Facts) bool { return f.Factory && !f.Blank }

// prepare chooses both PINs, seals them, and chooses the escrow's and the key's id.
// All of it is durable before the next step makes it known outside.
func prepare(ctx context.Context, j *run) error {
	if j.rec.Facts.EscrowID != "" {
		return nil
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	product, err := j.ordered()
	if err != nil {
		return err
	}
	to, err := j.Recipients()
	if err != nil {
		return err
	}
	f := j.rec.Facts
	so, err := profile.SOPIN.Draw(rand.Reader)
	if err != nil {
		return fmt.Errorf("%w: SO PIN: %w", ErrProfileMisfit, err)
	}
	user, err := product.UserPIN.Draw(rand.Reader, j.rec.Job.numbers()...)
	if err != nil {
		return fmt.Errorf("%w: user PIN: %w", ErrProfileMisfit, err)
	}
	if f.SOPINEnvelope, err = envelope.Seal(to.SOPIN, []byte(so)); err != nil {
		return err
	}
	f.SOPINRecipients, f.Delivery = fingerprints(to.SOPIN), product.Delivery
	if f.Delivery == DeliverSealed || f.Delivery == "" {
		if f.UserPINEnvelope, err = envelope.Seal(to.UserPIN, []byte(user)); err != nil {
			return err
		}
		f.UserPINRecipients = fingerprints(to.UserPIN)
	}
	f.SOPINBox = j.Vault.seal(j.rec.Job.ID, fieldSOPIN, so)
	f.UserPINBox = j.Vault.seal(j.rec.Job.ID, fieldUserPIN, user)
	f.EscrowID = uuid.NewString()
	if f.KeyID, err = profile.chooseKeyID(); err != nil {
		return err
	}
	j.rec.Facts, j.dirty = f, true
	return nil
}

func fingerprints(rs []envelope.Recipient) []string {
	out := make([]string, len(rs))
	for i, r := range rs {
		out[i] = r.SHA256()
	}
	return out
}

func escrowSOPIN(ctx context.Context, j *run) error {
	return j.Central.Escrow(ctx, Escrow{
		ID: j.rec.Facts.EscrowID, UnitID: j.rec.Job.UnitID(), Epoch: j.lease.Epoch(),
		Envelope: j.rec.Facts.SOPINEnvelope, Recipients: j.rec.Facts.SOPINRecipients,
	})
}

func nameEscrow(ctx context.Context, j *run) error {
	return j.Central.NameEscrow(ctx, j.rec.Facts.EscrowID, j.rec.Token.Identity.Serial)
}
