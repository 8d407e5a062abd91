package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

func newAuditShow(s streams, dial connect) *cobra.Command {
	var format output.Format
	var which recordChoice
	var unit string
	c := &cobra.Command{
		Use: "show", Short: "Show what a station has on record, oldest first", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			records, err := which.read(c.Context(), c, client)
			if err != nil {
				return err
			}
			all := []audit.Entry{}
			table := output.Rows{Header: []string{"INDEX", "AT", "KIND", "UNIT", "STEP", "EPOCH", "TOKEN SERIAL", "CODE"}, Empty: "Nothing of that is on record."}
			for _, r := range records {
				entries, err := r.entries(func(e audit.Entry) bool { return unit == "" || e.Unit == unit })
				if err != nil {
					return err
				}
				all = append(all, entries...)
			}
			for _, e := range all {
				table.Rows = append(table.Rows, []string{
					strconv.FormatInt(e.Index, 10), when(e.Time), string(e.Kind), e.Unit, e.Step, strconv.FormatInt(e.Epoch, 10), e.TokenSerial, e.Code,
				})
			}
			return format.Print(s.out, table, all)
		},
	}
	which.addFlags(c)
	c.Flags().StringVar(&unit, "unit", "", "only what was done for this `unit`")
	output.AddFlag(c.Flags(), &format)
	return c
}
