package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// desk is where letters are printed: the printer, and the journal. Only one process at a
// time sits there.
type desk struct {
	*mailers
	runner provision.Runner
	// onToken runs an act on the module of a job's token, which nobody else uses meanwhile.
	onToken func(ctx context.Context, rec *provision.Record, act func(pkcs11.Module) error) error
}

// newDesk makes one over a journal and its key; nil where no letters are printed.
func newDesk(station *config.Station, j *provision.Journal, vault *provision.Vault) (*desk, error) {
	m, err := newMailers(station, cups.Supported)
	if err != nil || m == nil {
		return nil, err
	}
	cat, err := newCatalogue(station)
	if err != nil {
		return nil, err
	}
	profile, err := tokenProfiles(station)
	if err != nil {
		return nil, err
	}
	return &desk{
		mailers: m,
		runner:  provision.Runner{Journal: j, Vault: vault, Product: cat.product, TokenProfile: profile, Now: time.Now, Settle: settle},
	}, nil
}

// atDesk opens the desk for one act.
func atDesk(s streams, load func() (*config.Station, error), act func(*desk) error) (err error) {
	station, err := load()
	if err != nil {
		return err
	}
	if !station.PrintsMailers() {
		return errors.New("no product of this station is delivered by mailer")
	}
	if err := hasJournal(station); err != nil {
		return err
	}
	tpm := stationTPM(station)
	defer closeTPM(tpm)
	seal, err := sealing(station, tpm)
	if err != nil {
		return err
	}
	st, err := openDesk(station.StateDir, func(dir string) (*provision.Vault, error) { return provision.UseKey(dir, seal) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	d, err := newDesk(station, st.journal, st.vault)
	if err != nil {
		return err
	}
	d.onToken = offline(s, station)
	return act(d)
}

// hasJournal says what is missing where there are no letters yet.
func hasJournal(station *config.Station) error {
	exists, err := provision.JournalExists(journalPath(station.StateDir))
	if err == nil && !exists {
		err = errors.New("this station has no journal yet, so there are no letters")
	}
	return err
}

// letter is what the unit's letter says now.
func (d *desk) letter(rec *provision.Record) (mailer.Letter, error) {
	pin, err := d.runner.LetterPIN(rec)
	if err != nil {
		return mailer.Letter{}, err
	}
	l := d.bare(rec)
	l.PIN = pin
	return l, nil
}

// bare is the letter without its PIN.
func (d *desk) bare(rec *provision.Record) mailer.Letter {
	of := rec.Job.Subject
	return mailer.Letter{
		Company: of.Company.Name, Name: cmp.Or(rec.Job.Recipient.Name, of.Handler.Name), Address: rec.Job.Recipient.Address,
		OrderID: of.OrderID, Unit: of.Sequence, Of: of.Of, TokenLabel: rec.TokenLabel(), Language: d.language,
	}
}

// sheet is what is on the letter but for its PIN, a line each; nil where something is missing.
func (d *desk) sheet(rec *provision.Record) []string {
	lines, err := mailer.Lines(d.bare(rec))
	if err != nil {
		return nil // printing says what
	}
	return lines
}

// print prints a unit's letter, which was not printed before.
func (d *desk) print(ctx context.Context, unit, by string) (cups.Outcome, error) {
	rec, err := d.runner.Journal.Mailable(unit)
	if err != nil {
		return cups.Outcome{}, err
	}
	if state := rec.Letter().State; state != provision.LetterReady {
		return cups.Outcome{}, fmt.Errorf("unit %s: %w (its letter is %s); usbkeyd mailers reprint %[1]s gives the token another PIN", unit, provision.ErrLetterPrinted, state)
	}
	return d.hand(ctx, rec, by)
}

// reprint gives the unit's token another PIN, says so by renewed, and prints that. A token
// that has one already, of which nothing was printed, keeps it.
func (d *desk) reprint(ctx context.Context, unit, by string, renewed func() error) (cups.Outcome, error) {
	rec, err := d.runner.Journal.Mailable(unit)
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
	l, err := d.letter(rec)
	if err != nil {
		return cups.Outcome{}, err
	}
	if err := errors.Join(mailer.Check(d.font, l), d.printer.Ready(ctx)); err != nil {
		return cups.Outcome{}, err
	}
	err = d.onToken(ctx, rec, func(m pkcs11.Module) error { return d.runner.RenewPIN(ctx, rec, m, by) })
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
func (d *desk) hand(ctx context.Context, rec *provision.Record, by string) (cups.Outcome, error) {
	l, err := d.letter(rec)
	if err != nil {
		return cups.Outcome{}, err
	}
	page, err := mailer.Render(d.font, l)
	if err != nil {
		return cups.Outcome{}, fmt.Errorf("unit %s: nothing was printed: %w", rec.Job.UnitID(), err)
	}
	defer clear(page)
	if err := d.printer.Ready(ctx); err != nil {
		return cups.Outcome{}, err
	}
	if err := d.runner.BeginLetter(rec, by); err != nil {
		return cups.Outcome{}, err
	}
	outcome, err := d.printer.Print(ctx, page)
	if err != nil {
		return cups.Outcome{}, errors.Join(err, d.runner.LetterNotSent(rec))
	}
	return outcome, d.runner.LetterHanded(rec, string(outcome.End), outcome.Says)
}

// sayPrinted says what became of a unit's sheet, and what may follow.
func sayPrinted(s streams, unit string, o cups.Outcome) error {
	_, err := s.words.Fprintf(s.out, "%s\nWith the sheet in your hand, whole and readable: usbkeyd mailers confirm %s --by YOU\nOtherwise:                                       usbkeyd mailers reprint %[2]s --by YOU\n", s.words.Told(o.Says), unit)
	return err
}

// operator is what the central server takes for a person's id.
var operator = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`) })

// byFlag adds --by to a command that a person answers for.
func byFlag(c *cobra.Command, by *string) {
	c.Flags().StringVar(by, "by", "", "`id` of the person who does it, never a name (required)")
}

func checkBy(by string) error {
	if !operator().MatchString(by) {
		return &codeError{exitUsage, fmt.Errorf("--by %q: the id of the person who does this is needed (A-Z, a-z, 0-9, . _ @ -; at most 64)", by)}
	}
	return nil
}

// offline is desk.onToken where no daemon may be using the module.
func offline(s streams, station *config.Station) func(context.Context, *provision.Record, func(pkcs11.Module) error) error {
	return func(ctx context.Context, rec *provision.Record, act func(pkcs11.Module) error) (err error) {
		lock, err := lockState(station.StateDir, tokensLock, "the token is to get another PIN, and another usbkeyd works on the state folder %s: stop it first (usbkeyd service stop)")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
		return lender(s, station)(ctx, rec.Token.Module, act)
	}
}
