package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

// labelRow is a label that is not stuck on yet, as labels list prints it.
type labelRow struct {
	OrderID     string    `json:"orderId"`
	UnitID      string    `json:"unitId"`
	Sequence    int       `json:"sequence"`
	Of          int       `json:"of"`
	TokenSerial string    `json:"tokenSerial"`
	State       string    `json:"state"`
	Since       time.Time `json:"since"`
	Says        string    `json:"says,omitempty"`
}

func newLabelsList(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "list", Short: "List the finished keys whose labels are not stuck on yet, where they come one at a time", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			rows, err := readJournal(load, labelRows)
			if err != nil {
				return err
			}
			table := output.Rows{Header: []string{"ORDER", "KEY", "TOKEN SERIAL", "LABEL", "REMARK"}, Empty: "No label is waited for."}
			for _, r := range rows {
				table.Rows = append(table.Rows, []string{r.OrderID, fmt.Sprintf("%d/%d", r.Sequence, r.Of), r.TokenSerial, s.words.Name("label-is", r.State), s.words.Told(r.Says)})
			}
			return s.print(format, table, rows)
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

func labelRows(j *provision.Journal) ([]labelRow, error) {
	labels, err := j.Labels()
	rows := []labelRow{}
	for _, l := range labels {
		of := l.Record.Job.Subject
		rows = append(rows, labelRow{of.OrderID, of.UnitID, of.Sequence, of.Of, string(l.Record.Token.Identity.Serial), string(l.State), l.Since, l.Says})
	}
	return rows, err
}
