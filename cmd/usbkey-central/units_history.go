package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

func newUnitsHistory(s streams, dial connect) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "history UNIT", Short: "Show what happened to a unit, oldest first", Args: exactly(1, "the id of one unit"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			history, err := client.History(c.Context(), args[0])
			if err != nil {
				return err
			}
			rows := output.Rows{Header: []string{"AT", "EVENT", "FROM", "TO", "EPOCH", "GENERATION", "STATION", "WHY"}, Empty: "Nothing happened to it yet."}
			for _, e := range history.Entries {
				rows.Rows = append(rows.Rows, []string{
					when(e.At), e.Event, string(e.From), string(e.To), strconv.FormatInt(e.Epoch, 10), itoa(e.Generation), orDash(e.Station), orDash(e.Why),
				})
			}
			return format.Print(s.out, rows, history)
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}
