package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

func newEventsList(s streams, dial connect) *cobra.Command {
	var format output.Format
	var after int64
	c := &cobra.Command{
		Use: "list", Short: "List what other systems are told, up to a page after --after", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			list, err := client.Events(c.Context(), after)
			if err != nil {
				return err
			}
			rows := output.Rows{Header: []string{"SEQUENCE", "AT", "KIND", "ORDER", "UNIT"}, Empty: "Nothing happened since."}
			for _, e := range list.Events {
				rows.Rows = append(rows.Rows, []string{strconv.FormatInt(e.Sequence, 10), when(e.HappenedAt), string(e.Kind), e.OrderId, orDash(e.UnitId)})
			}
			return format.Print(s.out, rows, list)
		},
	}
	c.Flags().Int64Var(&after, "after", 0, "last `sequence` that was dealt with")
	output.AddFlag(c.Flags(), &format)
	return c
}
