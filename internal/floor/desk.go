package floor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Desk is where letters are printed: the printer, and the journal. Only one process at a
// time sits there.
type Desk struct {
	Font     *typeface.Font
	Printer  cups.Printer
	Language mailer.Language
	Runner   provision.Runner
	// OnToken runs an act on the module of a job's token, which nobody else uses meanwhile.
	OnToken func(ctx context.Context, rec *provision.Record, act func(pkcs11.Module) error) error
}

// Letter is what the unit's letter says now.
func (d *Desk) Letter(rec *provision.Record) (mailer.Letter, error) {
	pin, err := d.Runner.LetterPIN(rec)
	if err != nil {
		return mailer.Letter{}, err
	}
	l := d.bare(rec)
	l.PIN = pin
	return l, nil
}

// bare is the letter without its PIN.
func (d *Desk) bare(rec *provision.Record) mailer.Letter {
	of := rec.Job.Subject
	return mailer.Letter{
		Company: of.Company.Name, Name: cmp.Or(rec.Job.Recipient.Name, of.Handler.Name), Address: rec.Job.Recipient.Address,
		OrderID: of.OrderID, Unit: of.Sequence, Of: of.Of, TokenLabel: rec.TokenLabel(), Language: d.Language,
	}
}

// sheet is what is on the letter but for its PIN, a line each; nil where something is missing.
func (d *Desk) sheet(rec *provision.Record) []string {
	lines, err := mailer.Lines(d.bare(rec))
	if err != nil {
		return nil // printing says what
	}
	return lines
}

// Print prints a unit's letter, which was not printed before.
func (d *Desk) Print(ctx context.Context, unit, by string) (cups.Outcome, error) {
	rec, err := d.Runner.Journal.Mailable(unit)
	if err != nil {
		return cups.Outcome{}, err
	}
	if state := rec.Letter().State; state != provision.LetterReady {
		return cups.Outcome{}, fmt.Errorf("unit %s: %w (its letter is %s); usbkeyd mailers reprint %[1]s gives the token another PIN", unit, provision.ErrLetterPrinted, state)
	}
	return d.hand(ctx, rec, by)
}

// Reprint gives the unit's token another PIN, says so by renewed, and prints that. A token
// that has one already, of which nothing was printed, keeps it.
func (d *Desk) Reprint(ctx context.Context, unit, by string, renewed func() error) (cups.Outcome, error) {
	rec, err := d.Runner.Journal.Mailable(unit)
	if err != nil {
		return cups.Outcome{}, err
	}
	if rec.Letter().State == provision.LetterReady {
		if len(rec.Facts.Letters) < 2 {
			return cups.Outcome{}, fmt.Errorf("unit %s: %w: usbkeyd mailers print %[1]s", unit, provision.ErrNothingPrinted)
		}
		return d.hand(ctx, rec, by)
	}
	// Whatever is known to be wrong is found before it costs a PIN.
	l, err := d.Letter(rec)
	if err != nil {
		return cups.Outcome{}, err
	}
	if err := errors.Join(mailer.Check(d.Font, l), d.Printer.Ready(ctx)); err != nil {
		return cups.Outcome{}, err
	}
	err = d.OnToken(ctx, rec, func(m pkcs11.Module) error { return d.Runner.RenewPIN(ctx, rec, m, by) })
	if errors.Is(err, pkcs11.ErrNotFound) {
		return cups.Outcome{}, fmt.Errorf("unit %s: plug in its token (serial %s), which is to get another PIN: %w", unit, rec.Token.Identity.Serial, err)
	}
	if err == nil {
		err = renewed()
	}
	if err != nil {
		return cups.Outcome{}, err
	}
	return d.hand(ctx, rec, by)
}

// hand hands the unit's letter to the printer, at most once.
func (d *Desk) hand(ctx context.Context, rec *provision.Record, by string) (cups.Outcome, error) {
	l, err := d.Letter(rec)
	if err != nil {
		return cups.Outcome{}, err
	}
	page, err := mailer.Render(d.Font, l)
	if err != nil {
		return cups.Outcome{}, fmt.Errorf("unit %s: nothing was printed: %w", rec.Job.UnitID(), err)
	}
	defer clear(page)
	if err := d.Printer.Ready(ctx); err != nil {
		return cups.Outcome{}, err
	}
	if err := d.Runner.BeginLetter(rec, by); err != nil {
		return cups.Outcome{}, err
	}
	outcome, err := d.Printer.Print(ctx, page)
	if err != nil {
		return cups.Outcome{}, errors.Join(err, d.Runner.LetterNotSent(rec))
	}
	return outcome, d.Runner.LetterHanded(rec, string(outcome.End), outcome.Says)
}

// ConfirmLetter notes that a person has a unit's letter. Whoever calls sits at the desk.
func ConfirmLetter(j *provision.Journal, unit, by string) error {
	rec, err := j.Mailable(unit)
	if err != nil {
		return err
	}
	return (&provision.Runner{Journal: j, Now: time.Now}).ConfirmLetter(rec, by)
}
