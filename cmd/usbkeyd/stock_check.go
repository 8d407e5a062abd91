package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newStockCheck(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "check SERIAL", Short: "Say whether a token serial is on the list of delivered tokens, and what became of it", Args: exactArgs(1, "one token serial"),
		Long: `Say whether a token serial is on the list of delivered tokens, with its casing
number, its lot and what has become of it. It ends with 1 when the serial is not
on the list.`,
		RunE: func(_ *cobra.Command, args []string) error {
			token, err := readJournal(load, func(j *provision.Journal) (*provision.StockToken, error) { return j.StockToken(args[0]) })
			if err != nil {
				return err
			}
			if token == nil {
				return fmt.Errorf("token serial %q: %w. %s", args[0], provision.ErrNotDelivered, unlistedHint)
			}
			return printTokens(s, format, []provision.StockToken{*token})
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}
