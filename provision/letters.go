package provision

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Letters that bring user PINs, after their units are installed. A PIN is printed at most
// once: that it is about to be is durable before, and from then on nobody but a person
// knows whether there is a sheet. A sheet that is not to be had, or not to be trusted, is
// not printed again; the token gets another PIN, for another sheet.

// LetterState is where one sheet stands.
type LetterState string

// States of a letter.
const (
	// LetterSetting: the token is about to get this letter's PIN, or has got it.
	LetterSetting LetterState = "setting"
	// LetterReady: the token has the PIN, and nothing has been handed to a printer.
	LetterReady LetterState = "ready"
	// LetterUnknown: handed to the printer, or about to be.
	LetterUnknown LetterState = "unknown"
	// LetterConfirmed: a person has the sheet, whole and readable.
	LetterConfirmed LetterState = "confirmed"
)

// Letter is one sheet with a user PIN.
type Letter struct {
	State LetterState
	// PINBox is the new PIN while the token gets it; after that it is the job's UserPINBox.
	PINBox []byte `json:",omitempty"`
	// By is who had it printed, ConfirmedBy who saw the sheet: ids, no names.
	By          string    `json:",omitempty"`
	At          time.Time `json:",omitzero"`
	ConfirmedBy string    `json:",omitempty"`
	ConfirmedAt time.Time `json:",omitzero"`
	// Says is what is known of the sheet, for people; Outcome classes it, as the printer does.
	Says    string `json:",omitempty"`
	Outcome string `json:",omitempty"`
}

// Why there is no letter, or no other one.
const (
	ErrNoLetter       Sentinel = "the unit's PIN is not delivered by a mailer from here"
	ErrNotInstalled   Sentinel = "the central server has not taken the unit as installed"
	ErrLetterPrinted  Sentinel = "the PIN may be on paper already"
	ErrNothingPrinted Sentinel = "nothing was printed yet"
	ErrSamePerson     Sentinel = "who has packed the unit's token must not have its letter in the hand"
)

// Letter is the last letter of a job, which is ready when there was none.
func (r *Record) Letter() Letter {
	if n := len(r.Facts.Letters); n > 0 {
		return r.Facts.Letters[n-1]
	}
	return Letter{State: LetterReady}
}

// Mailable returns the finished job whose token a unit is on, and whose PIN goes by
// mailer. ErrNoLetter, ErrNotInstalled.
func (j *Journal) Mailable(unitID string) (*Record, error) {
	found, err := j.jobs("unit_id = $1 AND state = $2", unitID, StateFinished)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 || found[len(found)-1].Facts.Delivery != DeliverMailer {
		return nil, fmt.Errorf("unit %s: %w", unitID, ErrNoLetter)
	}
	rec := found[len(found)-1]
	answer, err := j.Answer(rec.Job.ID, ReportResult)
	if err != nil {
		return nil, err
	}
	if answer != installedAnswer {
		return nil, fmt.Errorf("unit %s: %w (its answer: %q)", unitID, ErrNotInstalled, answer)
	}
	return rec, nil
}

// Mailables are all finished jobs whose PINs go by mailer, oldest first, but those that
// were compacted.
func (j *Journal) Mailables() ([]*Record, error) {
	return j.jobs("state = $1 AND json_extract(facts, '$.Delivery') = $2 AND json_extract(facts, '$.Compacted') IS NULL", StateFinished, DeliverMailer)
}

// LetterRefusal is what the central server has against the confirmation of a job's letter; ""
// for nothing.
func (j *Journal) LetterRefusal(jobID string) (string, error) {
	answer, err := j.Answer(jobID, ReportMailer)
	if err != nil || !refused(answer) {
		return "", err
	}
	return answer, nil
}

// LetterPIN is the PIN that the unit's letter brings: the one that is on the token.
func (r *Runner) LetterPIN(rec *Record) (pkcs11.UserPIN, error) {
	return (&run{Runner: r, rec: rec}).userPIN()
}

// BeginLetter makes it durable that the PIN is about to be handed to a printer, by a
// person. ErrLetterPrinted when it may have been before, ErrSamePerson.
func (r *Runner) BeginLetter(rec *Record, by string) error {
	last := rec.Letter()
	if last.State != LetterReady {
		return fmt.Errorf("unit %s: %w (letter %d: %s)", rec.Job.UnitID(), ErrLetterPrinted, len(rec.Facts.Letters), last.State)
	}
	last.State, last.By, last.At = LetterUnknown, by, r.Now()
	last.Says, last.Outcome = "The station stopped while the sheet was handed to the printer. It may be there, whole or in part, or not.", ""
	return r.Journal.amendLettersBy(by, rec, fmt.Sprintf("letter about to be printed by %s", by), nil, withLast(rec, last), letterAct(rec, audit.KindPINPrint, "begun", by))
}

// LetterHanded notes what was said of a sheet that was handed to the printer.
func (r *Runner) LetterHanded(rec *Record, outcome, says string) error {
	last := rec.Letter()
	last.Says, last.Outcome = says, outcome
	return r.Journal.amendLetters(rec, "letter handed to the printer", nil, withLast(rec, last))
}

// LetterNotSent notes that nothing was handed to the printer after all.
func (r *Runner) LetterNotSent(rec *Record) error {
	last := rec.Letter()
	last.State, last.Says, last.Outcome = LetterReady, "", ""
	return r.Journal.amendLetters(rec, "letter not printed", nil, withLast(rec, last), letterAct(rec, audit.KindPINPrint, "not-sent", last.By))
}

// ConfirmLetter notes that a person has the sheet, and has the central server told, which
// lets this person pack nothing of the unit. ErrNothingPrinted, ErrSamePerson.
func (r *Runner) ConfirmLetter(rec *Record, by string) error {
	last := rec.Letter()
	if last.State != LetterUnknown {
		return fmt.Errorf("unit %s: %w (letter: %s)", rec.Job.UnitID(), ErrNothingPrinted, last.State)
	}
	last.State, last.ConfirmedBy, last.ConfirmedAt, last.Says, last.Outcome = LetterConfirmed, by, r.Now(), "", ""
	report := &Report{
		JobID: rec.Job.ID, Kind: ReportMailer, UnitID: rec.Job.UnitID(), Generation: rec.Job.Generation, Epoch: rec.Epoch, ConfirmedBy: by,
	}
	return r.Journal.amendLettersBy(by, rec, fmt.Sprintf("letter confirmed by %s", by), report, withLast(rec, last), letterAct(rec, audit.KindPINPrint, "confirmed", by))
}

// withLast puts a letter in the place of the last one, or of none. One that is ready is
// the same letter when it is printed.
func withLast(rec *Record, l Letter) func(*Facts) {
	letters := slices.Clone(rec.Facts.Letters)
	if len(letters) == 0 {
		letters = append(letters, Letter{})
	}
	letters[len(letters)-1] = l
	return func(f *Facts) { f.Letters = letters }
}

// ErrChanged says that somebody else has changed what was read.
const ErrChanged = Sentinel("somebody else changed this unit's letter meanwhile; look at it again")

// amendLetters changes the letters of a finished job, and what else is theirs, as they are in
// the journal now: the daemon beside may have changed other facts since rec was read. Where
// the letters or the user PIN are others than in rec it is ErrChanged.
func (j *Journal) amendLetters(rec *Record, note string, report *Report, change func(*Facts), acts ...audit.Entry) error {
	return j.amendLettersBy("", rec, note, report, change, acts...)
}

// amendLettersBy is amendLetters for what gives a person, "" for nobody, a sheet into the
// hand. ErrSamePerson for who has packed the token.
func (j *Journal) amendLettersBy(by string, rec *Record, note string, report *Report, change func(*Facts), acts ...audit.Entry) error {
	label := crashpoint.JournalIntent
	if report != nil {
		label = crashpoint.JournalEnd
	}
	var now *Record
	changed, packed := false, false
	err := j.transact(label, func(tx *sql.Tx) (err error) {
		changed, packed = false, false
		if now, err = scanRecord(tx.QueryRow("SELECT "+recordColumns+" FROM job WHERE id = $1", rec.Job.ID)); err != nil {
			return err
		}
		if changed = !sameLetters(now.Facts, rec.Facts); changed {
			return ErrChanged
		}
		if by != "" {
			packers, err := packedBy(tx, rec.Job.ID)
			if err != nil {
				return err
			}
			if packed = slices.Contains(packers, by); packed {
				return ErrSamePerson
			}
		}
		change(&now.Facts)
		return errors.Join(j.save(tx, now, note), witness(tx, acts...), tell(tx, report, now.UpdatedAt))
	})
	switch {
	case changed:
		return fmt.Errorf("unit %s: %w", rec.Job.UnitID(), ErrChanged)
	case packed:
		return fmt.Errorf("unit %s: %w", rec.Job.UnitID(), ErrSamePerson)
	case err != nil:
		return err
	}
	*rec = *now
	return nil
}

func sameLetters(a, b Facts) bool {
	one, err := json.Marshal(a.Letters)
	other, err2 := json.Marshal(b.Letters)
	return err == nil && err2 == nil && bytes.Equal(one, other) && bytes.Equal(a.UserPINBox, b.UserPINBox)
}

// RenewPIN gives the token another user PIN, so that a sheet with the old one is worth
// nothing, and leaves a letter that is ready. It may be called again after any failure,
// and goes on with the same new PIN. The token must be in module; module is nobody else's.
// ErrNothingPrinted when no sheet was ever handed on: then that one is to be printed. ErrSamePerson.
func (r *Runner) RenewPIN(ctx context.Context, rec *Record, module pkcs11.Module, by string) error {
	ctx = context.WithoutCancel(ctx)
	if rec.Letter().State == LetterReady {
		return fmt.Errorf("unit %s: %w", rec.Job.UnitID(), ErrNothingPrinted)
	}
	j := &run{Runner: r, rec: rec, module: labelled(module), steps: planOf(rec)}
	defer func() {
		if j.token != nil {
			_ = j.token.Close() // whoever uses the token next finds out how it is
		}
	}()
	// Before anything is written down: is this the token, and what is it?
	if _, err := j.tokenProfile(ctx); err != nil {
		return err
	}
	again := rec.Letter().State == LetterSetting
	if !again {
		if err := j.drawAgain(by); err != nil {
			return err
		}
	}
	last := rec.Letter()
	text, err := r.Vault.open(rec.Job.ID, fieldNextUserPIN, last.PINBox)
	if err != nil {
		return err
	}
	if err := j.replaceUserPIN(ctx, pkcs11.NewUserPIN(text), again); err != nil {
		return j.judge(ctx, Step{Name: StepSetUserPIN}, err)
	}
	last.State, last.PINBox = LetterReady, nil
	letters, box := withLast(rec, last), r.Vault.seal(rec.Job.ID, fieldUserPIN, text)
	return r.Journal.amendLetters(rec, "user PIN replaced", nil, func(f *Facts) {
		letters(f)
		f.UserPINBox = box
	}, letterAct(rec, audit.KindPINSet, "done", last.By))
}

// fieldNextUserPIN is the Vault's name for a PIN that the token is about to get.
const fieldNextUserPIN = "next-user-pin"

// drawAgain draws a PIN that is not the present one, and makes it durable with a new letter.
func (j *run) drawAgain(by string) error {
	product, err := j.ordered()
	if err != nil {
		return err
	}
	now, err := j.userPIN()
	if err != nil {
		return err
	}
	pin := now.Reveal()
	for pin == now.Reveal() {
		if pin, err = product.UserPIN.Draw(rand.Reader, j.rec.Job.numbers()...); err != nil {
			return fmt.Errorf("%w: user PIN: %w", ErrProfileMisfit, err)
		}
	}
	l := Letter{State: LetterSetting, PINBox: j.Vault.seal(j.rec.Job.ID, fieldNextUserPIN, pin), By: by, At: j.Now()}
	letters := append(slices.Clone(j.rec.Facts.Letters), l)
	return j.Journal.amendLettersBy(by, j.rec, fmt.Sprintf("user PIN about to be replaced for %s", by), nil,
		func(f *Facts) { f.Letters = letters }, letterAct(j.rec, audit.KindPINSet, "begun", by))
}

// replaceUserPIN sets the new PIN in the way of the model, and proves it by a login. After
// an earlier try that may have set it, the new one is tried first where a wrong PIN would
// be asked for otherwise; the right login that follows makes up for that one try.
func (j *run) replaceUserPIN(ctx context.Context, to pkcs11.UserPIN, again bool) error {
	if j.profile.UserPIN != UserPINChange {
		if err := j.initUserPIN(ctx, to); err != nil {
			return err
		}
		return j.opensWith(ctx, to)
	}
	if again {
		err := j.opensWith(ctx, to)
		if !errors.Is(err, pkcs11.ErrPINIncorrect) {
			return err
		}
		if err := j.stillThere(ctx); err != nil {
			return err
		}
	}
	token, err := j.loginAs(ctx, loginUser)
	if err != nil {
		return err
	}
	from, err := j.userPIN()
	if err != nil {
		return err
	}
	if err := token.SetUserPIN(ctx, from, to); err != nil {
		return err
	}
	if err := j.logout(ctx); err != nil {
		return err
	}
	return j.opensWith(ctx, to)
}

func (j *run) opensWith(ctx context.Context, pin pkcs11.UserPIN) error {
	token, err := j.open(ctx)
	if err != nil {
		return err
	}
	if err := token.LoginUser(ctx, pin); err != nil {
		return err
	}
	return token.Logout(ctx)
}
