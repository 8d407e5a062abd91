package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

// jobDetail is a job with its history.
type jobDetail struct {
	jobRow
	History []historyRow `json:"history"`
}

type historyRow struct {
	At    time.Time `json:"at"`
	State string    `json:"state"`
	Step  string    `json:"step"`
	Epoch int64     `json:"epoch"`
	Note  string    `json:"note"`
}

func newJobsShow(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "show JOB", Short: "Show one job and its history", Args: exactArgs(1, "the id of a job, as jobs list shows it"),
		RunE: func(_ *cobra.Command, args []string) error {
			detail, err := readJournal(load, func(j *provision.Journal) (*jobDetail, error) { return findJob(j, args[0]) })
			if err != nil {
				return err
			}
			if detail == nil {
				return fmt.Errorf("there is no job %q in this station's journal; usbkeyd jobs list shows all", args[0])
			}
			if format == output.JSON {
				return s.print(format, output.Rows{}, detail)
			}
			facts := output.Rows{Header: []string{"JOB", detail.JobID}, Facts: true}
			for _, f := range [][]string{
				{"unit", s.words.Sprintf("%s (%d of %d)", detail.UnitID, detail.Sequence, detail.Of)}, {"company", detail.Company},
				{"state", s.words.Name("is", detail.State)}, {"step", s.words.Name("step", detail.Step)}, {"waits for", s.words.Name("wait", detail.Waiting)}, {"reason", s.words.Told(detail.Reason)}, {"next action", s.words.Told(detail.Hint)},
				{"module", detail.Module}, {"token serial", detail.TokenSerial}, {"token label", detail.TokenLabel}, {"key id", detail.KeyID},
				{"certificate serial", detail.CertificateSerial}, {"certificate SHA-256", detail.CertificateSHA256}, {"subject", detail.Subject}, {"attestation", detail.Attestation},
				{"seconds", fmt.Sprintf("%.2f", detail.Seconds)},
			} {
				if f[1] != "" {
					facts.Rows = append(facts.Rows, f)
				}
			}
			history := output.Rows{Header: []string{"AT", "STATE", "STEP", "EPOCH", "NOTE"}}
			for _, h := range detail.History {
				history.Rows = append(history.Rows, []string{h.At.Format(time.RFC3339), s.words.Name("is", h.State), s.words.Name("step", h.Step), fmt.Sprint(h.Epoch), s.words.Told(h.Note)})
			}
			err = s.print(format, facts, nil)
			_, blank := fmt.Fprintln(s.out)
			return errors.Join(err, blank, s.print(format, history, nil))
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

func findJob(j *provision.Journal, id string) (*jobDetail, error) {
	r, err := j.Job(id)
	if err != nil || r == nil {
		return nil, err
	}
	entries, err := j.History(id)
	if err != nil {
		return nil, err
	}
	d := &jobDetail{jobRow: newJobRow(r), History: []historyRow{}}
	for _, e := range entries {
		d.History = append(d.History, historyRow{e.At, string(e.State), string(e.Step), e.Epoch, e.Note})
	}
	return d, nil
}
