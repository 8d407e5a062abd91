package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

// jobRow is one job as jobs list and jobs show print it. It has no PIN in any form.
type jobRow struct {
	JobID             string    `json:"jobId"`
	UnitID            string    `json:"unitId"`
	OrderID           string    `json:"orderId"`
	Sequence          int       `json:"sequence"`
	Of                int       `json:"of"`
	Company           string    `json:"company"`
	State             string    `json:"state"`
	Step              string    `json:"step"`
	Module            string    `json:"module"`
	TokenSerial       string    `json:"tokenSerial"`
	TokenLabel        string    `json:"tokenLabel"`
	KeyID             string    `json:"keyId"`
	CertificateSerial string    `json:"certificateSerial"`
	CertificateSHA256 string    `json:"certificateSha256"`
	Subject           string    `json:"subject"`
	Attestation       string    `json:"attestation,omitempty"`
	Reason            string    `json:"reason,omitempty"`
	Hint              string    `json:"hint,omitempty"`
	Waiting           string    `json:"waiting,omitempty"`
	Seconds           float64   `json:"seconds"`
	DueAt             time.Time `json:"dueAt"`
	Urgent            bool      `json:"urgent,omitempty"`
	UpdatedAt         time.Time `json:"updatedAt"`
}

func newJobRow(r *provision.Record) jobRow {
	row := jobRow{
		JobID: r.Job.ID, UnitID: r.Job.UnitID(), OrderID: r.Job.Subject.OrderID, Sequence: r.Job.Subject.Sequence, Of: r.Job.Subject.Of,
		Company: r.Job.Subject.Company.Name, State: string(r.State), Step: string(r.Step), Module: r.Token.Module,
		TokenSerial: string(r.Token.Identity.Serial), TokenLabel: string(r.TokenLabel()), KeyID: r.Facts.KeyID.String(),
		CertificateSerial: r.Facts.CertificateSerial, CertificateSHA256: r.Facts.CertificateSHA256, Subject: r.Facts.CertificateSubject, Attestation: r.Facts.Attestation,
		Reason: r.Reason, Hint: r.Hint, Waiting: string(r.Waiting), Seconds: r.Busy.Seconds(), DueAt: r.Job.DueAt, Urgent: r.Job.Urgent, UpdatedAt: r.UpdatedAt,
	}
	if r.State == provision.StateFinished {
		row.Step = ""
	}
	return row
}

// jobStates are those that jobs can be listed by.
func jobStates() (out []string) {
	for _, s := range []provision.State{provision.StateQueued, provision.StateRunning, provision.StateParked, provision.StateFinished, provision.StateFailed, provision.StateQuarantined} {
		out = append(out, string(s))
	}
	return out
}

func newJobsList(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	var state string
	c := &cobra.Command{
		Use: "list", Short: "List the jobs in this station's journal, oldest first", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if state != "" && !slices.Contains(jobStates(), state) {
				return &codeError{exitUsage, fmt.Errorf("--state %q is not a state: use queued, running, parked, finished, failed or quarantined", state)}
			}
			records, err := readJournal(load, func(j *provision.Journal) ([]*provision.Record, error) { return j.All() })
			if err != nil {
				return err
			}
			rows := []jobRow{}
			table := output.Rows{Header: []string{"JOB", "STATE", "STEP", "MODULE", "TOKEN SERIAL", "COMPANY", "KEY", "REASON"}, Empty: "No jobs yet."}
			if state != "" && len(records) > 0 {
				table.Empty = "No job is in this state."
			}
			for _, r := range records {
				row := newJobRow(r)
				if state != "" && row.State != state {
					continue
				}
				rows = append(rows, row)
				table.Rows = append(table.Rows, []string{row.JobID, s.words.Name("is", row.State), s.words.Name("step", row.Step), row.Module, row.TokenSerial, row.Company,
					fmt.Sprintf("%d/%d", row.Sequence, row.Of), s.words.Told(row.Reason)})
			}
			return s.print(format, table, rows)
		},
	}
	output.AddFlag(c.Flags(), &format)
	c.Flags().StringVar(&state, "state", "", "only jobs in this `state`: queued, running, parked, finished, failed or quarantined")
	return c
}

// readJournal gives what is read of the journal; nothing when there is none yet.
func readJournal[T any](load func() (*config.Station, error), read func(*provision.Journal) (T, error)) (out T, err error) {
	station, err := load()
	if err != nil {
		return out, err
	}
	_, err = besideDaemon(station, func(j *provision.Journal) (err error) {
		out, err = read(j)
		return err
	})
	return out, err
}
