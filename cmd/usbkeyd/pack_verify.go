package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// How often a token is looked for that is to be put in, and how often what the daemon says.
const (
	insertionLook = 500 * time.Millisecond
	insertionAsk  = 100 * time.Millisecond
)

func newPackVerify(s streams, load func() (*config.Station, error)) *cobra.Command {
	var by string
	var format output.Format
	wait := span(time.Minute)
	c := &cobra.Command{
		Use: "verify [SERIAL]", Short: "Have a key of the open parcel put in, and read its serial and certificate", Args: atMostOne,
		Long: `Have a key of the open parcel put in, the one that was scanned last or the one
that is named, and compare its token serial and certificate with what was installed. It
has to be put in while this command waits: only then is what is read the key in
your hand. The daemon reads it while it runs; otherwise this command does.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkBy(by); err != nil {
				return err
			}
			if wait < span(time.Second) || wait > span(10*time.Minute) {
				return &codeError{exitUsage, errors.New("--wait: 1s to 10m")}
			}
			code := ""
			if len(args) > 0 {
				code = args[0]
			}
			return atTable(load, func(station *config.Station, t provision.Table) error {
				d, err := t.Desk()
				if err != nil {
					return err
				}
				k, err := d.ToVerify(code)
				if err != nil {
					return err
				}
				if err := awaitInsertion(c.Context(), s, station, t, k, by, time.Duration(wait)); err != nil {
					return err
				}
				if d, err = t.Desk(); err != nil {
					return err
				}
				return answer(s, format, d, d.Done(packing.Act{Kind: packing.Verified, Code: k.Token}).String())
			})
		},
	}
	byFlag(c, &by)
	c.Flags().VarP(&wait, "wait", "", "how long to wait for the key, as a `time` such as 30s")
	output.AddFlag(c.Flags(), &format)
	return c
}

// awaitInsertion makes the wish and sees it served: here, if nobody has the tokens, and else
// by the daemon. What there is to be said before it has ended goes to standard error.
func awaitInsertion(ctx context.Context, s streams, station *config.Station, t provision.Table, k packing.Key, by string, wait time.Duration) (err error) {
	i, err := t.AskInsertion(k, by, wait)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	lock, err := filelock.Exclusive(filepath.Join(station.StateDir, tokensLock))
	switch {
	case errors.Is(err, filelock.ErrHeld):
	case err != nil:
		return fmt.Errorf("state folder: %w", err)
	default:
		defer func() { err = errors.Join(err, lock.Close()) }()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() { served <- t.ServeInsertion(ctx, lender(s, station), insertionLook) }()
	}
	asked, said := i.Asked, ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-served:
			if err != nil {
				return err
			}
		case <-time.After(insertionAsk):
		}
		now, err := t.Journal.Insertion()
		switch {
		case err != nil:
			return err
		case now == nil || !now.Asked.Equal(asked):
			return errors.New("somebody else verifies another key just now; try again")
		case now.Reason == provision.InsertionRead:
			return nil
		case now.Reason != "":
			return &packing.Refusal{Reason: packing.Reason(now.Reason), Says: packing.Say("%s", now.Says)}
		case i.Overdue(time.Now()):
			return errors.New("another usbkeyd has the tokens and does not read the key: is it the daemon, and at work?")
		}
		if now.Says != said {
			said = now.Says
			if _, err := fmt.Fprintln(s.err, s.words.Told(said)); err != nil {
				return err
			}
		}
	}
}

// lender lends modules to one who has the tokens' lock, each time in a process of its own:
// some modules look for tokens only when they are loaded.
func lender(s streams, station *config.Station) provision.Borrow {
	log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return func(ctx context.Context, module string, f func(pkcs11.Module) error) error {
		all, closeAll, err := instances(station, log, nil)
		if err != nil {
			return err
		}
		defer closeAll()
		for _, i := range all {
			if i.Name != module {
				continue
			}
			m, err := i.Pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer i.Pool.Release(m)
			return f(m)
		}
		return fmt.Errorf("module %q of the token is not in the configuration any more", module)
	}
}
