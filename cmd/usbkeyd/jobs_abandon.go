package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newJobsAbandon(s streams, load func() (*config.Station, error)) *cobra.Command {
	var yes bool
	var serial string
	c := &cobra.Command{
		Use: "abandon JOB", Short: "Give up a job that will never go on, so that its unit gets another token",
		Long: `Give up a job that will never go on, such as one whose token was lost or broke
while it waited. The daemon must be stopped. The token counts as quarantined if
it was written, and the central server is told at the next run. To make sure that
it is the right job, name the token's serial (or - if it has none yet).`,
		Args: exactArgs(1, "the id of a job, as jobs list shows it"),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			station, err := load()
			if err != nil {
				return err
			}
			tpm := stationTPM(station)
			defer closeTPM(tpm)
			st, err := openStationState(station, tpm)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, st.Close()) }()
			rec, err := st.journal.Job(args[0])
			if err != nil {
				return err
			}
			if rec == nil {
				return fmt.Errorf("there is no job %q in this station's journal; usbkeyd jobs list shows all", args[0])
			}
			have := string(rec.Token.Identity.Serial)
			if have == "" {
				have = "-"
			}
			if !yes || serial != have {
				return &codeError{exitUsage, fmt.Errorf("job %s is on token %s, step %s: to give it up, add --yes --token-serial %s", rec.Job.ID, have, rec.Step, have)}
			}
			runner := provision.Runner{Journal: st.journal}
			err = runner.GiveUp(rec, "given up by a person: "+rec.Reason, "If the token turns up, wipe it before it is used again.")
			if err != nil {
				return err
			}
			_, err = s.words.Fprintf(s.out, "%s is %s; its unit gets another token once the central server has been told\n", rec.Job.ID, s.words.Name("is", string(rec.State)))
			return err
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "really give it up")
	c.Flags().StringVar(&serial, "token-serial", "", "`serial` of the job's token, - for none")
	return c
}
