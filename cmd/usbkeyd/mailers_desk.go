package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// desk is where letters are printed: the printer, and the journal beside a daemon that
// may be running. Only one process at a time sits there.
type desk struct {
	streams
	*mailers
	station *config.Station
	state   *state
	runner  provision.Runner
}

// atDesk opens the desk for one act.
func atDesk(s streams, load func() (*config.Station, error), act func(*desk) error) (err error) {
	station, err := load()
	if err != nil {
		return err
	}
	m, err := newMailers(station, cups.Supported)
	if err != nil {
		return err
	}
	if m == nil {
		return errors.New("no product of this station is delivered by mailer")
	}
	if err := hasJournal(station); err != nil {
		return err
	}
	cat, err := newCatalogue(station)
	if err != nil {
		return err
	}
	profile, err := tokenProfiles(station)
	if err != nil {
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
	return act(&desk{
		streams: s, mailers: m, station: station, state: st,
		runner: provision.Runner{Journal: st.journal, Vault: st.vault, Product: cat.product, TokenProfile: profile, Now: time.Now, Settle: settle},
	})
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
	of := rec.Job.Subject
	return mailer.Letter{
		Company: of.Company.Name, Name: cmp.Or(rec.Job.Recipient.Name, of.Handler.Name), Address: rec.Job.Recipient.Address,
		OrderID: of.OrderID, Unit: of.Sequence, Of: of.Of, TokenLabel: rec.TokenLabel(), PIN: pin, Language: d.language,
	}, nil
}

// print hands the unit's letter to the printer, at most once.
func (d *desk) print(ctx context.Context, rec *provision.Record, by string) error {
	l, err := d.letter(rec)
	if err != nil {
		return err
	}
	page, err := mailer.Render(d.font, l)
	if err != nil {
		return fmt.Errorf("unit %s: nothing was printed: %w", rec.Job.UnitID(), err)
	}
	defer clear(page)
	if err := d.printer.Ready(ctx); err != nil {
		return err
	}
	if err := d.runner.BeginLetter(rec, by); err != nil {
		return err
	}
	outcome, err := d.printer.Print(ctx, page)
	if err != nil {
		return errors.Join(err, d.runner.LetterNotSent(rec))
	}
	if err := d.runner.LetterHanded(rec, outcome.Says); err != nil {
		return err
	}
	unit := rec.Job.UnitID()
	_, err = fmt.Fprintf(d.out, "%s\nWith the sheet in your hand, whole and readable: usbkeyd mailers confirm %s --by YOU\nOtherwise:                                       usbkeyd mailers reprint %[2]s --by YOU\n", outcome.Says, unit)
	return err
}

// operator is what the central server takes for a person's id.
var operator = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// byFlag adds --by to a command that a person answers for.
func byFlag(c *cobra.Command, by *string) {
	c.Flags().StringVar(by, "by", "", "`id` of the person who does it, never a name (required)")
}

func checkBy(by string) error {
	if !operator.MatchString(by) {
		return &codeError{exitUsage, fmt.Errorf("--by %q: the id of the person who does this is needed (A-Z, a-z, 0-9, . _ @ -; at most 64)", by)}
	}
	return nil
}

// onToken runs an act on the module of a job's token, which no daemon may be using.
func (d *desk) onToken(ctx context.Context, rec *provision.Record, act func(pkcs11.Module) error) (err error) {
	lock, err := lockState(d.station.StateDir, tokensLock, "the token is to get another PIN, and another usbkeyd works on the state folder %s: stop it first")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	all, closeAll, err := instances(d.station, slog.New(slog.NewTextHandler(d.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer closeAll()
	for _, i := range all {
		if i.Name != rec.Token.Module {
			continue
		}
		m, err := i.Pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer i.Pool.Release(m)
		return act(m)
	}
	return fmt.Errorf("module %q of the unit's token is not in the configuration any more", rec.Token.Module)
}
