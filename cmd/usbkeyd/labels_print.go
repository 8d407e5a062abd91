package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newLabelsPrint(s streams, load func() (*config.Station, error)) *cobra.Command {
	var by string
	c := &cobra.Command{
		Use: "print CODE", Short: "Print the labels of an order, a unit or a token", Args: exactArgs(1, "an order, a unit or a token serial"),
		Long: `Print the labels of the finished keys of an order, of a unit or of a token serial, in
the order of their bays. A label holds no secret, so that it may be printed again; each time
is on record. Destroy the one that is not stuck on.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkBy(by); err != nil {
				return err
			}
			return atTable(load, func(station *config.Station, t provision.Table) error {
				l, err := newLabels(station, cups.Supported)
				if err != nil {
					return err
				}
				if l == nil {
					return errors.New("this station has no printer of labels (labels.printer); usbkeyd labels token writes them to a file")
				}
				records, err := finished(t.Journal, args[0])
				if err != nil {
					return err
				}
				says, err := l.print(c.Context(), records...)
				if err != nil {
					return err
				}
				for _, r := range records {
					if err := t.Journal.LabelSent(r, by, says, time.Now()); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintln(s.out, s.words.Told(says))
				return err
			})
		},
	}
	byFlag(c, &by)
	return c
}
