package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// observeInitialise looks for the token with our label: under its own serial if it
// had one, else under a serial that no other job of this station has. Only
// C_InitToken of this job can have given it that label.
func observeInitialise(ctx context.Context, j *run) (Observed, error) {
	slots, err := j.module.Slots(ctx)
	if err != nil {
		return NotDone, err
	}
	others, err := j.Journal.SerialsOfOthers(j.rec)
	if err != nil {
		return NotDone, err
	}
	var ours []pkcs11.Slot
	stillThere := false
	for _, s := range slots {
		if s.Token == nil {
			continue
		}
		had := j.rec.Token.Identity.Serial
		known := had != "" && s.Token.Serial == had || had == "" && !slices.Contains(others, s.Token.Serial)
		if s.Token.Initialized() && s.Token.Label == j.rec.Job.TokenLabel && known {
			ours = append(ours, s)
		}
		stillThere = stillThere || s.Is(j.rec.Token.Identity) && s.Token.Initialized() == cameInitialised(j.rec.Facts)
	}
	switch {
	case len(ours) > 1:
		return NotDone, fmt.Errorf("%w: %d tokens carry the label %q", pkcs11.ErrAmbiguous, len(ours), string(j.rec.Job.TokenLabel))
	case len(ours) == 0 && stillThere:
		return NotDone, nil
	case len(ours) == 0:
		return NotDone, fmt.Errorf("%s: %w", j.rec.Token.Identity, pkcs11.ErrTokenRemoved)
	}
	id, err := j.identify(ours[0])
	if err != nil {
		return NotDone, err
	}
	j.reopen(id)
	if j.rec.Facts.Blank {
		j.rec.Facts.Factory = true
	}
	if !j.rec.Facts.Factory {
		if _, err := j.loginAs(ctx, loginSO); err != nil {
			return NotDone, err
		}
	}
	return Done, nil
}

func initialise(ctx context.Context, j *run) error {
	// Read again: it may have been exchanged since it was found blank.
	before, err := j.tokenInfo(ctx, true)
	if err != nil {
		return err
	}
	if before.Initialized() != cameInitialised(j.rec.Facts) {
		return fmt.Errorf("%s: %w", j.rec.Token.Identity, pkcs11.ErrTokenReplaced)
	}
	token, err := j.open(ctx)
	if err != nil {
		return err
	}
	pin, err := j.soPIN()
	if err != nil {
		return err
	}
	if f := j.rec.Facts; f.Factory || f.Blank {
		profile, err := j.tokenProfile(ctx)
		if err != nil {
			return err
		}
		pin = profile.FactorySOPIN
	}
	if err := j.tryFactory(); err != nil {
		return err
	}
	info, err := token.Init(ctx, pin, j.rec.Job.TokenLabel)
	if err != nil {
		if j.rec.Facts.Blank && errors.Is(err, pkcs11.ErrPINIncorrect) {
			return fmt.Errorf("%w %s: %w", ErrFactorySOPIN, j.rec.Token.Identity, err)
		}
		return err
	}
	j.rec.Facts.Factory = j.rec.Facts.Factory || j.rec.Facts.Blank
	j.info, j.login = &info, loginNone
	j.rec.Token.Identity, j.dirty = token.Identity(), true
	return j.holdBySlot(ctx, token.Identity())
}

// identify names a token that this job has initialised, in the way of its model.
func (j *run) identify(s pkcs11.Slot) (pkcs11.Identity, error) {
	p, err := j.TokenProfile(*s.Token)
	if err != nil {
		return pkcs11.Identity{}, fmt.Errorf("%w: %w", ErrProfileMisfit, err)
	}
	return p.Identify(s), nil
}

// holdBySlot holds a token by its slot from now on, when its serial is one that all of
// its model show and it had none before.
func (j *run) holdBySlot(ctx context.Context, id pkcs11.Identity) error {
	if j.profile == nil || !j.profile.bySlot() || id.SlotDescription != "" {
		return nil
	}
	slots, err := j.module.Slots(ctx)
	if err != nil {
		return err
	}
	var found []pkcs11.Slot
	for _, s := range slots {
		if s.Is(id) && s.Token.Label == j.rec.Job.TokenLabel {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("%s: %d tokens carry the label %q: %w", id, len(found), string(j.rec.Job.TokenLabel), pkcs11.ErrAmbiguous)
	}
	info := j.info
	j.reopen(j.profile.Identify(found[0]))
	j.info = info
	return nil
}

// tryFactory makes it durable that the factory SO PIN of an uninitialised token is
// about to be tried, which happens once.
func (j *run) tryFactory() error {
	f := &j.rec.Facts
	switch {
	case !f.Blank || f.Factory:
		return nil
	case f.FactoryTried:
		return fmt.Errorf("%s: %w", j.rec.Token.Identity, ErrFactoryTried)
	}
	f.FactoryTried, f.FactoryTriedAt = true, j.Now()
	if err := j.commit(StepInitialise); err != nil {
		f.FactoryTried, f.FactoryTriedAt = false, time.Time{}
		return err
	}
	return nil
}

func verifyInitialise(ctx context.Context, j *run) error {
	info, err := j.tokenInfo(ctx, false)
	if err != nil {
		return err
	}
	switch {
	case !info.Initialized() || info.Label != j.rec.Job.TokenLabel:
		return fmt.Errorf("%w: label %q after C_InitToken, wanted %q", ErrReadBack, string(info.Label), string(j.rec.Job.TokenLabel))
	case info.Serial == "":
		return ErrTokenIdentity
	}
	return nil
}
