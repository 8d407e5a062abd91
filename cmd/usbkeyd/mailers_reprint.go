package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newMailersReprint(s streams, load func() (*config.Station, error), shutIn func() error) *cobra.Command {
	var by string
	c := &cobra.Command{
		Use: "reprint UNIT", Short: "Give a unit's token another PIN, and print that", Args: exactArgs(1, "the id of a unit"),
		Long: `Give a unit's token another user PIN and print the letter with that one, because
the first sheet is not there, not whole, or not to be trusted. What was printed
before is worth nothing then. The token must be plugged in, and the daemon
stopped. After a failure the same command goes on.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(checkBy(by), shutIn()); err != nil {
				return err
			}
			return atDesk(s, load, func(d *desk) error {
				rec, err := d.state.journal.Mailable(args[0])
				if err != nil {
					return err
				}
				if rec.Letter().State == provision.LetterReady {
					if len(rec.Facts.Letters) < 2 {
						return fmt.Errorf("unit %s: %w: usbkeyd mailers print %[1]s", args[0], provision.ErrNothingPrinted)
					}
					return d.print(c.Context(), rec, by) // its token has another PIN already
				}
				// Whatever is known to be wrong is found before it costs a PIN.
				l, err := d.letter(rec)
				if err != nil {
					return err
				}
				if err := errors.Join(mailer.Check(d.font, l), d.printer.Ready(c.Context())); err != nil {
					return err
				}
				err = d.onToken(c.Context(), rec, func(m pkcs11.Module) error { return d.runner.RenewPIN(c.Context(), rec, m, by) })
				if errors.Is(err, pkcs11.ErrNotFound) {
					return fmt.Errorf("unit %s: plug in its token (serial %s), which is to get another PIN: %w", args[0], rec.Token.Identity.Serial, err)
				}
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(s.out, "The token of %s has another PIN; a sheet with the old one is worth nothing.\n", args[0]); err != nil {
					return err
				}
				return d.print(c.Context(), rec, by)
			})
		},
	}
	byFlag(c, &by)
	return c
}
