package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/floor"
)

func newMailersPrint(s streams, load func() (*config.Station, error), shutIn func() error) *cobra.Command {
	var by string
	c := &cobra.Command{
		Use: "print UNIT", Short: "Print a unit's letter, once", Args: exactArgs(1, "the id of a unit"),
		Long: `Print the letter with an installed unit's PIN. The daemon may be running. A PIN is
printed at most once: once the sheet was handed to the printer its outcome is
unknown until somebody confirms it, and another sheet means another PIN (reprint).`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(checkBy(by), shutIn()); err != nil {
				return err
			}
			return atDesk(s, load, func(d *floor.Desk) error {
				o, err := d.Print(c.Context(), args[0], by)
				if err != nil {
					return err
				}
				return sayPrinted(s, args[0], o)
			})
		},
	}
	byFlag(c, &by)
	return c
}
