package provision

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// A token in quarantine was written and must not be shipped or used again before a person
// decides. Two decisions can be made here: to wipe it, and, once it is proved blank, to put
// it back into stock.

// Decision is what was decided about a token in quarantine.
type Decision struct {
	// By and Second are who wiped it; Second is "" where nobody else was needed.
	By     string `json:",omitempty"`
	Second string `json:",omitempty"`
	// Emptied says that C_InitToken has done away with what was on it, Restoring that
	// C_SetPIN is about to give it the factory SO PIN again, Blank that it was proved blank.
	Emptied   bool `json:",omitempty"`
	Restoring bool `json:",omitempty"`
	Blank     bool `json:",omitempty"`
	// Released is who put it back into stock.
	Released string `json:",omitempty"`
}

// wipedLabel is the label of a token that was wiped here: C_InitToken wants one.
const wipedLabel pkcs11.TokenLabel = "usbkeyd blank"

// Why nothing is done to a token in quarantine.
const (
	ErrNotQuarantined Sentinel = "this token is not in quarantine"
	ErrNoWipe         Sentinel = "this token cannot be wiped here"
)

// Quarantine returns the jobs whose tokens are in quarantine, the oldest first.
func (j *Journal) Quarantine() ([]*Record, error) {
	return j.jobs("state = 'quarantined' AND json_extract(facts, '$.Decision.Released') IS NULL")
}

// MayHoldKey reports whether a customer's key or certificate may be on the token of a job
// in quarantine: C_GenerateKeyPair may have happened, and no wipe is known to have ended.
func (r *Record) MayHoldKey() bool {
	j := &run{rec: r, steps: Plan(r.Job)}
	return (r.Facts.Withdrawn || j.mayHaveKey()) && !r.Facts.decision().Emptied
}

// decision is the zero one where nothing was decided.
func (f Facts) decision() Decision {
	if f.Decision == nil {
		return Decision{}
	}
	return *f.Decision
}

// Wipeable is nil when the station can wipe the token of a job in quarantine, as far as the
// journal knows. ErrNotQuarantined, ErrNoWipe.
func (r *Record) Wipeable() error {
	d := r.Facts.decision()
	switch {
	case r.State != StateQuarantined || d.Released != "":
		return ErrNotQuarantined
	case d.Blank:
		return fmt.Errorf("%w: it was wiped and is proved blank", ErrNoWipe)
	case r.Facts.AsMade:
		return fmt.Errorf("%w: its model is not initialised by C_InitToken", ErrNoWipe)
	case r.Token.Identity.Serial == "":
		return fmt.Errorf("%w: it has shown no serial, so nobody knows which one it is", ErrNoWipe)
	case len(r.Facts.SOPINBox) == 0:
		return fmt.Errorf("%w: its SO PIN is not at this station any more", ErrNoWipe)
	}
	return nil
}

// SetAside returns the tokens that must not be chosen again before a person decides:
// those of quarantined jobs, those on which a factory SO PIN was tried in vain, and
// finished ones of models that do not show that they were written. A token that is
// held by its slot is not among them: another may be in that slot by now.
// lots says when a factory SO PIN was last tried in vain for each token profile. Of tokens that a
// person has released since it says nothing.
func (j *Journal) SetAside() (tokens []TokenRef, lots map[string]time.Time, err error) {
	records, err := j.jobs("state IN ('failed', 'quarantined') OR state = 'finished' AND json_extract(facts, '$.AsMade')")
	if err != nil {
		return nil, nil, err
	}
	lots = map[string]time.Time{}
	for _, r := range records {
		released := r.Facts.decision().Released != ""
		inVain := r.Facts.FactoryInVain() && !released
		if at := r.Facts.FactoryTriedAt; inVain {
			if at.IsZero() {
				at = r.UpdatedAt // of an older journal, and later than the try if somebody has decided since
			}
			if at.After(lots[r.Facts.Lot]) {
				lots[r.Facts.Lot] = at
			}
		}
		aside := r.State == StateQuarantined && !released || inVain || r.State == StateFinished
		if id := r.Token.Identity; aside && id.Serial != "" && id.SlotDescription == "" {
			tokens = append(tokens, r.Token)
		}
	}
	return tokens, lots, nil
}

// amend changes the facts of a job that has ended, with its acts on record. What else the
// journal has of it by now stays.
func (j *Journal) amend(rec *Record, note string, change func(*Record), acts ...audit.Entry) error {
	var now *Record
	err := j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) (err error) {
		if now, err = scanRecord(tx.QueryRow("SELECT "+recordColumns+" FROM job WHERE id = $1", rec.Job.ID)); err != nil {
			return err
		}
		if now.Facts.Decision == nil {
			now.Facts.Decision = &Decision{}
		}
		change(now)
		return errors.Join(j.save(tx, now, note), witness(tx, acts...))
	})
	if err == nil {
		*rec = *now
	}
	return err
}

// decided is an act about a token in quarantine: wipe (about to be wiped), wiped, released.
func decided(rec *Record, code, by, second string) audit.Entry {
	act := about(rec, audit.KindQuarantine)
	act.Code = code
	person(act, "by", by)
	if second != "" {
		person(act, "second", second)
	}
	return act
}

// Wipe does away with all that is on the token of a job in quarantine, gives it the
// factory SO PIN again where its model has one, and proves what has become of it: blank, or
// empty. It may be called again after any failure. The token must be in module, which is
// nobody else's. ErrNotQuarantined, ErrNoWipe; ErrNotWiped; pkcs11's errors.
func (r *Runner) Wipe(ctx context.Context, rec *Record, module pkcs11.Module, by, second string) error {
	if err := rec.Wipeable(); err != nil {
		return fmt.Errorf("%s: %w", rec.Token.Identity, err)
	}
	ctx = context.WithoutCancel(ctx)
	j, done := r.atEnded(rec, module)
	defer done()
	info, err := j.tokenInfo(ctx, true)
	if err != nil {
		return err
	}
	if _, err := j.tokenProfile(ctx); err != nil {
		return err
	}
	if info.Initialized() && info.Label != wipedLabel && info.Label != rec.Job.TokenLabel {
		return fmt.Errorf("%s carries the label %q: %w", rec.Token.Identity, string(info.Label), pkcs11.ErrTokenReplaced)
	}
	if err := r.Journal.amend(rec, "about to be wiped", func(now *Record) {
		now.Facts.Decision.By, now.Facts.Decision.Second = by, second
	}, decided(rec, "wipe", by, second)); err != nil {
		return err
	}
	if info.Initialized() {
		if err := j.empty(ctx); err != nil {
			return j.judge(ctx, Step{Name: StepWipe}, err)
		}
	}
	blank, err := j.proveBlank(ctx)
	if err != nil {
		return j.judge(ctx, Step{Name: StepProveWiped}, err)
	}
	return r.Journal.amend(rec, "wiped", func(now *Record) {
		now.Facts.Decision.Emptied, now.Facts.Decision.Restoring, now.Facts.Decision.Blank = true, false, blank
	}, decided(rec, "wiped", by, second))
}

// atEnded is a run over the token of a job that has ended.
func (r *Runner) atEnded(rec *Record, module pkcs11.Module) (j *run, done func()) {
	j = &run{Runner: r, rec: rec, module: labelled(module), steps: planOf(rec)}
	return j, func() {
		if j.token != nil {
			_ = j.token.Close() // whoever uses the token next finds out how it is
		}
	}
}

// empty has C_InitToken destroy all objects and the user PIN, and gives the factory's SO PIN
// back where there is one. Which SO PIN is on the token the journal says; where C_SetPIN
// was cut off, the new one is tried once, as the job itself would have.
func (j *run) empty(ctx context.Context) error {
	token, err := j.open(ctx)
	if err != nil {
		return err
	}
	factory := j.profile.FactorySOPIN
	present, isFactory, err := j.presentSOPIN(ctx)
	if err != nil {
		return err
	}
	if _, err := token.Init(ctx, present, wipedLabel); err != nil {
		return err
	}
	id := token.Identity()
	if err := j.Journal.amend(j.rec, "emptied", func(r *Record) {
		r.Facts.Decision.Emptied, r.Token.Identity = true, id
	}); err != nil {
		return err
	}
	if factory.IsZero() || isFactory {
		return nil
	}
	if err := token.LoginSO(ctx, present); err != nil {
		return err
	}
	if err := j.Journal.amend(j.rec, "factory SO PIN", func(r *Record) { r.Facts.Decision.Restoring = true }); err != nil {
		return err
	}
	if err := token.SetSOPIN(ctx, present, factory); err != nil {
		return err
	}
	return token.Logout(ctx)
}

// presentSOPIN is the SO PIN that the token has now, and whether that is the factory's: so
// it is before it was replaced and after it was given back.
func (j *run) presentSOPIN(ctx context.Context) (pin pkcs11.SOPIN, factory bool, err error) {
	own, err := j.soPIN()
	if err != nil {
		return own, false, err
	}
	f := j.rec.Facts
	replacing := f.Factory && j.rec.Step == StepSetSOPIN
	switch {
	case f.decision().Restoring, replacing && f.SettingSOPIN: // cut off: which one, the token says
	case replacing, (f.Factory || f.Blank) && j.rec.Step == StepInitialise:
		return j.profile.FactorySOPIN, true, nil
	default:
		return own, false, nil
	}
	token, err := j.open(ctx)
	if err != nil {
		return own, false, err
	}
	switch err := token.LoginSO(ctx, own); {
	case err == nil:
		return own, false, token.Logout(ctx)
	case !errors.Is(err, pkcs11.ErrPINIncorrect):
		return own, false, err
	}
	return j.profile.FactorySOPIN, true, j.stillThere(ctx)
}

// proveBlank reads the token anew, in a fresh session, and reports whether it is blank: not
// initialised, or with the factory SO PIN. One that has a user PIN or an object on it is
// ErrNotWiped.
func (j *run) proveBlank(ctx context.Context) (bool, error) {
	j.reopen(j.rec.Token.Identity)
	info, err := j.tokenInfo(ctx, true)
	if err != nil {
		return false, err
	}
	if !info.Initialized() {
		return true, nil
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return false, err
	}
	if info.Label != wipedLabel || info.Flags.Has(pkcs11.FlagUserPINInitialized) {
		return false, fmt.Errorf("%w: it carries the label %q, or has a user PIN", ErrNotWiped, string(info.Label))
	}
	objects, err := j.token.Objects(ctx, pkcs11.Query{})
	if err != nil {
		return false, err
	}
	if left := profile.ours(objects); len(left) > 0 {
		return false, fmt.Errorf("%w: %d objects are on it", ErrNotWiped, len(left))
	}
	if profile.FactorySOPIN.IsZero() {
		return false, nil
	}
	if err := j.token.LoginSO(ctx, profile.FactorySOPIN); err != nil {
		if errors.Is(err, pkcs11.ErrPINIncorrect) {
			return false, fmt.Errorf("%w: the factory SO PIN does not open it", ErrNotWiped)
		}
		return false, err
	}
	return true, j.token.Logout(ctx)
}

// Releasable is nil when the token of a job in quarantine may go back into stock if it still
// proves to be blank. ErrNotQuarantined, ErrNotBlank.
func (r *Record) Releasable() error {
	d := r.Facts.decision()
	switch {
	case r.State != StateQuarantined || d.Released != "":
		return ErrNotQuarantined
	case !d.Blank:
		return fmt.Errorf("%w: it was not proved", ErrNotBlank)
	}
	return nil
}

// Release puts the token of a job in quarantine back into stock, once it has proved blank
// again; the journal's PINs of it go, for none of them opens it any more. The token must be
// in module, which is nobody else's. ErrNotQuarantined, ErrNotBlank, ErrNotWiped.
func (r *Runner) Release(ctx context.Context, rec *Record, module pkcs11.Module, by string) error {
	if err := rec.Releasable(); err != nil {
		return fmt.Errorf("%s: %w", rec.Token.Identity, err)
	}
	ctx = context.WithoutCancel(ctx)
	j, done := r.atEnded(rec, module)
	defer done()
	blank, err := j.proveBlank(ctx)
	if err != nil {
		return j.judge(ctx, Step{Name: StepProveWiped}, err)
	}
	if !blank {
		return fmt.Errorf("%s: %w: it has the SO PIN that is in escrow", rec.Token.Identity, ErrNotBlank)
	}
	destroyed := about(rec, audit.KindPINDestroyed)
	name(destroyed, "escrow", rec.Facts.EscrowID)
	return r.Journal.amend(rec, "released", func(now *Record) {
		now.Facts.Decision.Released = by
		now.Facts.forgetPINs()
	}, decided(rec, "released", by, ""), destroyed)
}
