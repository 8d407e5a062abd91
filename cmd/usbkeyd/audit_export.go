package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newAuditExport(s streams, load func() (*config.Station, error)) *cobra.Command {
	var checkpoint string
	c := &cobra.Command{
		Use: "export", Short: "Write the record as it is hashed: a line of JSON for each entry", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			station, err := load()
			if err != nil {
				return err
			}
			return withRecord(station, func(j *provision.Journal) error {
				if err := exportCheckpoint(j, checkpoint); err != nil {
					return err
				}
				out := bufio.NewWriter(s.out)
				for row, err := range j.Record() {
					if err != nil {
						return err
					}
					if _, err := fmt.Fprintf(out, "%s\n", row.Line); err != nil {
						return err
					}
				}
				return out.Flush()
			})
		},
	}
	c.Flags().StringVar(&checkpoint, "checkpoint", "", "also write the last checkpoint that the central server has signed to `file`, to be kept elsewhere")
	return c
}

func exportCheckpoint(j *provision.Journal, path string) error {
	if path == "" {
		return nil
	}
	anchor, err := j.Anchor()
	if err == nil && anchor == nil {
		err = errors.New("the central server has signed no checkpoint yet")
	}
	if err == nil {
		err = os.WriteFile(path, anchor, 0o644) // #nosec G306 -- it is for others to keep
	}
	if err != nil {
		return fmt.Errorf("--checkpoint: %w", err)
	}
	return nil
}
