package provision

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// The steps that make a blank token ours, up to the user PIN.

// open returns the job's token, found by its identity.
func (j *run) open(ctx context.Context) (pkcs11.Token, error) {
	if j.token != nil {
		return j.token, nil
	}
	token, err := j.module.Open(ctx, j.rec.Token.Identity)
	if err != nil {
		return nil, err
	}
	if err := j.checkMarker(ctx, token); err != nil {
		_ = token.Close() // the marker says more
		return nil, err
	}
	j.token, j.login = token, loginNone
	return j.token, j.bound(ctx)
}

// bound has the calls on the open token take no longer than its model may. A model
// that nothing is known of keeps the bounds of the module's process, and is refused
// by who asks for its profile.
func (j *run) bound(ctx context.Context) error {
	if j.profile == nil {
		info, err := j.token.Info(ctx)
		if err != nil {
			return err
		}
		p, err := j.TokenProfile(info)
		if err != nil {
			return nil
		}
		j.profile = &p
	}
	j.token = timed{j.token, j.profile}
	return nil
}

// checkMarker: a token that this job has initialised carries its label. One that
// shows the same serial and another label is another token, or is not ours any more.
func (j *run) checkMarker(ctx context.Context, token pkcs11.Token) error {
	if !j.marked() {
		return nil
	}
	info, err := token.Info(ctx)
	if err != nil {
		return err
	}
	if info.Label != j.rec.Job.TokenLabel {
		return fmt.Errorf("%s carries the label %q, not %q: %w", j.rec.Token.Identity, string(info.Label), string(j.rec.Job.TokenLabel), pkcs11.ErrTokenReplaced)
	}
	return nil
}

// marked reports whether C_InitToken of this job is known to have happened: a later
// step has been journalled.
func (j *run) marked() bool {
	at := func(name StepName) int {
		return slices.IndexFunc(j.steps, func(s Step) bool { return s.Name == name })
	}
	return !j.rec.Facts.AsMade && at(j.rec.Step) > at(StepInitialise)
}

// tokenInfo reads the token's info once; refresh reads it anew.
func (j *run) tokenInfo(ctx context.Context, refresh bool) (pkcs11.TokenInfo, error) {
	if j.info != nil && !refresh {
		return *j.info, nil
	}
	token, err := j.open(ctx)
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}
	info, err := token.Info(ctx)
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}
	j.info = &info
	return info, nil
}

// tokenProfile is the profile of the token's model.
func (j *run) tokenProfile(ctx context.Context) (*TokenProfile, error) {
	if j.profile != nil {
		return j.profile, nil
	}
	info, err := j.tokenInfo(ctx, false)
	if err != nil {
		return nil, err
	}
	p, err := j.TokenProfile(info)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfileMisfit, err)
	}
	j.profile = &p
	return j.profile, nil
}

// ordered is the product that the unit was ordered as.
func (j *run) ordered() (*Product, error) {
	if j.product != nil {
		return j.product, nil
	}
	p, err := j.Product(j.rec.Job.Subject.ProductCode)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfileMisfit, err)
	}
	j.product = &p
	return j.product, nil
}

const (
	fieldSOPIN   = "so-pin"
	fieldUserPIN = "user-pin"
)

func (j *run) soPIN() (pkcs11.SOPIN, error) {
	v, err := j.Vault.open(j.rec.Job.ID, fieldSOPIN, j.rec.Facts.SOPINBox)
	return pkcs11.NewSOPIN(v), err
}

func (j *run) userPIN() (pkcs11.UserPIN, error) {
	v, err := j.Vault.open(j.rec.Job.ID, fieldUserPIN, j.rec.Facts.UserPINBox)
	return pkcs11.NewUserPIN(v), err
}

// loginAs makes sure that the token is open and the login is the wanted one.
func (j *run) loginAs(ctx context.Context, want login) (pkcs11.Token, error) {
	token, err := j.open(ctx)
	if err != nil || j.login == want {
		return token, err
	}
	if err := j.logout(ctx); err != nil {
		return nil, err
	}
	if want == loginSO {
		pin, err := j.soPIN()
		if err != nil {
			return nil, err
		}
		if err := token.LoginSO(ctx, pin); err != nil {
			return nil, err
		}
	} else {
		pin, err := j.userPIN()
		if err != nil {
			return nil, err
		}
		if err := token.LoginUser(ctx, pin); err != nil {
			return nil, err
		}
	}
	j.login = want
	return token, nil
}

func (j *run) logout(ctx context.Context) error {
	if j.login == loginNone {
		return nil
	}
	j.login = loginNone
	return j.token.Logout(ctx)
}

// reopen drops the handle; the token is found by its present identity when it is used next.
func (j *run) reopen(id pkcs11.Identity) {
	if j.token != nil {
		_ = j.token.Close() // the handle is gone either way
	}
	j.token, j.info, j.login = nil, nil, loginNone
	j.rec.Token.Identity = id
	j.dirty = true
}

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
	f.FactoryTried = true
	if err := j.commit(StepInitialise); err != nil {
		f.FactoryTried = false
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

// observeSetSOPIN tries the new SO PIN, if C_SetPIN may have set it.
func observeSetSOPIN(ctx context.Context, j *run) (Observed, error) {
	return j.observePIN(ctx, loginSO, &j.rec.Facts.SettingSOPIN, StepSetSOPIN)
}

// observePIN tries a new PIN that replaces a factory's. It is tried only when C_SetPIN
// was about to be called, and once for each such call: that it was refused is durable
// before anything else is tried, so that wrong tries do not add up over crashes.
func (j *run) observePIN(ctx context.Context, who login, setting *bool, step StepName) (Observed, error) {
	if !*setting {
		return NotDone, nil
	}
	_, err := j.loginAs(ctx, who)
	switch {
	case err == nil:
		return Done, nil
	case !errors.Is(err, pkcs11.ErrPINIncorrect):
		return NotDone, err
	}
	if err := j.stillThere(ctx); err != nil {
		return NotDone, err
	}
	*setting = false
	return NotDone, j.commit(step)
}

// setSOPIN replaces the factory SO PIN. A token that came uninitialised got the
// new one by C_InitToken already.
func setSOPIN(ctx context.Context, j *run) error {
	token, err := j.open(ctx)
	if err != nil {
		return err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	pin, err := j.soPIN()
	if err != nil {
		return err
	}
	if err := token.LoginSO(ctx, profile.FactorySOPIN); err != nil {
		return err
	}
	j.login = loginSO
	j.rec.Facts.SettingSOPIN = true
	if err := j.commit(StepSetSOPIN); err != nil {
		return err
	}
	if err := token.SetSOPIN(ctx, profile.FactorySOPIN, pin); err != nil {
		return err
	}
	return j.logout(ctx)
}

// verifySOPIN logs in with the new SO PIN, which nobody else may do on models whose user
// sets the user PIN and writes the keys. A token that kept its old one would lie.
func verifySOPIN(ctx context.Context, j *run) error {
	_, err := j.loginAs(ctx, loginSO)
	if errors.Is(err, pkcs11.ErrPINIncorrect) {
		if gone := j.stillThere(ctx); gone != nil {
			return gone
		}
		return fmt.Errorf("%w: the new SO PIN does not open the token (%v)", ErrReadBack, err)
	}
	return err
}

func nameEscrow(ctx context.Context, j *run) error {
	return j.Central.NameEscrow(ctx, j.rec.Facts.EscrowID, j.rec.Token.Identity.Serial)
}

// observeSetUserPIN tries the new user PIN, if C_SetPIN may have set it. Where the
// security officer sets the PIN it is simply set again.
func observeSetUserPIN(ctx context.Context, j *run) (Observed, error) {
	profile, err := j.tokenProfile(ctx)
	if err != nil || profile.UserPIN != UserPINChange {
		return NotDone, err
	}
	return j.observePIN(ctx, loginUser, &j.rec.Facts.SettingUserPIN, StepSetUserPIN)
}

// setUserPIN sets the user PIN in the way of the model.
func setUserPIN(ctx context.Context, j *run) error {
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	pin, err := j.userPIN()
	if err != nil {
		return err
	}
	if profile.UserPIN == UserPINChange {
		return j.changeUserPIN(ctx, profile.FactoryUserPIN, pin)
	}
	if profile.ForcesChange {
		return j.setUserPINTwice(ctx, pin)
	}
	return j.initUserPIN(ctx, pin)
}

// initUserPIN has the security officer set the user PIN.
func (j *run) initUserPIN(ctx context.Context, pin pkcs11.UserPIN) error {
	token, err := j.loginAs(ctx, loginSO)
	if err != nil {
		return err
	}
	if err := token.InitUserPIN(ctx, pin); err != nil {
		return err
	}
	return j.logout(ctx)
}

// changeUserPIN replaces the factory's. That it is about to try the factory's is durable
// before, and so is that it is about to replace it: once that is done the factory's is a
// wrong one. A factory PIN whose tries ended twice without an answer is not tried again.
func (j *run) changeUserPIN(ctx context.Context, from, to pkcs11.UserPIN) error {
	token, err := j.open(ctx)
	if err != nil {
		return err
	}
	if err := j.logout(ctx); err != nil {
		return err
	}
	f := &j.rec.Facts
	if f.FactoryUserTries >= 2 {
		return fmt.Errorf("%s: %w", j.rec.Token.Identity, ErrFactoryTried)
	}
	f.FactoryUserTries++
	if err := j.commit(StepSetUserPIN); err != nil {
		f.FactoryUserTries--
		return err
	}
	if err := token.LoginUser(ctx, from); err != nil {
		if errors.Is(err, pkcs11.ErrPINIncorrect) {
			return fmt.Errorf("%w %s: %w", ErrFactoryUserPIN, j.rec.Token.Identity, err)
		}
		return err
	}
	j.login = loginUser
	f.SettingUserPIN, f.FactoryUserTries = true, 0
	if err := j.commit(StepSetUserPIN); err != nil {
		return err
	}
	if err := token.SetUserPIN(ctx, from, to); err != nil {
		return err
	}
	// The next step logs in with the new one, which proves it.
	return j.logout(ctx)
}
