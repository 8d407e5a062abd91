package main

import (
	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
)

func newMailersPreview(s streams, load func() (*config.Station, error), shutIn func() error) *cobra.Command {
	return &cobra.Command{
		Use: "preview UNIT", Short: "Write a unit's letter as HTML, with the PIN masked", Args: exactArgs(1, "the id of a unit"),
		Long: `Write a unit's letter as HTML to standard output, with the PIN masked. A letter
with a character that the font cannot write is refused, as it is in print.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := shutIn(); err != nil {
				return err
			}
			return atDesk(s, load, func(d *floor.Desk) error {
				rec, err := d.Runner.Journal.Mailable(args[0])
				if err != nil {
					return err
				}
				l, err := d.Letter(rec)
				if err != nil {
					return err
				}
				if err := mailer.Check(d.Font, l); err != nil {
					return err
				}
				return mailer.Preview(s.out, l)
			})
		},
	}
}
