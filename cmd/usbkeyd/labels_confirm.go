package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newLabelsConfirm(s streams, load func() (*config.Station, error)) *cobra.Command {
	return labelAct(s, load, &cobra.Command{
		Use: "confirm SERIAL", Short: "Say that a token's label is stuck on it: scan the label", Args: exactArgs(1, "a token serial"),
		Long: `Say that the label of the token that was taken out last is stuck on it, by scanning it
there. Where labels come one at a time, the next token may be taken out from then on.`,
	}, floor.ConfirmLabel, "The label of %s is stuck on: the next token may be taken out.\n")
}

func newLabelsSetAside(s streams, load func() (*config.Station, error)) *cobra.Command {
	return labelAct(s, load, &cobra.Command{
		Use: "set-aside SERIAL", Short: "Say that a token without a label cannot be put back into its bay", Args: exactArgs(1, "a token serial"),
		Long: `Say that a token that was taken out, and has no label that was scanned, cannot be put
back into its bay because it is broken or lost; or that one in a bay cannot be looked for any
more, while a label is waited for. Its unit is not packed. The others that were taken out with
it go back into their bays all the same.`,
	}, (*provision.Journal).SetLabelAside, "The token %s is out of the count. Its unit is not packed: see to it at the central server.\n")
}

// labelAct is a command that brings a label to its end.
func labelAct(s streams, load func() (*config.Station, error), c *cobra.Command, act func(j *provision.Journal, serial, by string, now time.Time) (*provision.Record, error), said string) *cobra.Command {
	var by string
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := checkBy(by); err != nil {
			return err
		}
		return atTable(load, func(_ *config.Station, t provision.Table) error {
			if _, err := act(t.Journal, args[0], by, time.Now()); err != nil {
				return err
			}
			_, err := s.words.Fprintf(s.out, said, args[0])
			return err
		})
	}
	byFlag(c, &by)
	return c
}
