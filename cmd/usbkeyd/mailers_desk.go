package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// newDesk makes one over a journal and its key; nil where no letters are printed.
func newDesk(station *config.Station, j *provision.Journal, vault *provision.Vault) (*floor.Desk, error) {
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
	return &floor.Desk{
		Font: m.font, Printer: m.printer, Language: m.language,
		Runner: provision.Runner{Journal: j, Vault: vault, Product: cat.product, TokenProfile: profile, Now: time.Now, Settle: settle},
	}, nil
}

// atDesk opens the desk for one act.
func atDesk(s streams, load func() (*config.Station, error), act func(*floor.Desk) error) (err error) {
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
	d.OnToken = offline(s, station)
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

// offline is floor.Desk.OnToken where no daemon may be using the module.
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
