package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/floor"
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
			return atDesk(s, load, func(d *floor.Desk) error {
				o, err := d.Reprint(c.Context(), args[0], by, func() error {
					_, err := s.words.Fprintf(s.out, "The token of %s has another PIN; a sheet with the old one is worth nothing.\n", args[0])
					return err
				})
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
