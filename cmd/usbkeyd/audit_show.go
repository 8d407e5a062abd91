package main

import (
	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newAuditShow(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	var unit string
	c := &cobra.Command{
		Use: "show", Short: "Show what is on record, oldest first", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			station, err := load()
			if err != nil {
				return err
			}
			return withRecord(station, func(j *provision.Journal) error {
				entries, err := entriesOf(j, func(e audit.Entry) bool { return unit == "" || e.Unit == unit })
				if err != nil {
					return err
				}
				return s.print(format, entryTable(entries), entries)
			})
		},
	}
	c.Flags().StringVar(&unit, "unit", "", "only what was done for this `unit`")
	output.AddFlag(c.Flags(), &format)
	return c
}
