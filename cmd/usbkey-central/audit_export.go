package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func newAuditExport(s streams, dial connect) *cobra.Command {
	var which recordChoice
	var checkpoint string
	c := &cobra.Command{
		Use: "export", Short: "Write a station's record as it is hashed: a line of JSON for each entry", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			records, err := which.read(c.Context(), c, client)
			if err != nil {
				return err
			}
			if len(records) != 1 {
				return usagef("station %s has %d records: choose one with --installation", which.station, len(records))
			}
			r := records[0]
			if checkpoint != "" {
				if err := os.WriteFile(checkpoint, []byte(r.Checkpoint), 0o644); err != nil { // #nosec G306 -- it is for others to keep
					return fmt.Errorf("--checkpoint: %w", err)
				}
			}
			for _, row := range r.rows.Rows {
				if err := printf(s, "%s\n", row.Line); err != nil {
					return err
				}
			}
			return nil
		},
	}
	which.addFlags(c)
	c.Flags().StringVar(&checkpoint, "checkpoint", "", "also write the last signed checkpoint to `file`, to be kept elsewhere")
	return c
}
