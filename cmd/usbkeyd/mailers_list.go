package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

// mailerRow is one unit's letter as mailers list prints it. It has no PIN in any form.
type mailerRow struct {
	UnitID      string     `json:"unitId"`
	Company     string     `json:"company"`
	TokenSerial string     `json:"tokenSerial"`
	State       string     `json:"state"`
	Sheets      int        `json:"sheets"`
	By          string     `json:"by,omitempty"`
	At          *time.Time `json:"at,omitempty"`
	ConfirmedBy string     `json:"confirmedBy,omitempty"`
	Says        string     `json:"says,omitempty"`
	// Refused is what the central server has against the confirmation.
	Refused string `json:"refused,omitempty"`
}

func newMailersList(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "list", Short: "List the units whose PINs go by mailer, and how far their letters are", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			rows, err := readJournal(load, mailerRows)
			if err != nil {
				return err
			}
			table := output.Rows{Header: []string{"UNIT", "LETTER", "SHEETS", "PRINTED BY", "CONFIRMED BY", "COMPANY", "REMARK"}, Empty: "No units whose PINs go by mailer."}
			for _, r := range rows {
				remark := r.Says
				if r.Refused != "" {
					remark = r.Refused
				}
				table.Rows = append(table.Rows, []string{r.UnitID, s.words.Name("letter", r.State), fmt.Sprint(r.Sheets), r.By, r.ConfirmedBy, r.Company, s.words.Told(remark)})
			}
			return s.print(format, table, rows)
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

func mailerRows(j *provision.Journal) ([]mailerRow, error) {
	records, err := j.Mailables()
	if err != nil {
		return nil, err
	}
	rows := []mailerRow{}
	for _, r := range records {
		row, err := mailerRowOf(j, r)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func mailerRowOf(j *provision.Journal, r *provision.Record) (mailerRow, error) {
	l := r.Letter()
	row := mailerRow{
		UnitID: r.Job.UnitID(), Company: r.Job.Subject.Company.Name, TokenSerial: string(r.Token.Identity.Serial),
		State: string(l.State), Sheets: len(r.Facts.Letters), By: l.By, ConfirmedBy: l.ConfirmedBy, Says: l.Says,
	}
	if !l.At.IsZero() {
		row.At = &l.At
	}
	var err error
	row.Refused, err = j.LetterRefusal(r.Job.ID)
	return row, err
}
