package main

import (
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

// verdict is what audit verify found of one record.
type verdict struct {
	Record  string `json:"record"`
	Entries int64  `json:"entries"`
	Since   string `json:"since"`
	// Broken says what is wrong; "" where the record holds.
	Broken string `json:"broken,omitempty"`
}

func newAuditVerify(s streams, dial connect, data *string) *cobra.Command {
	var format output.Format
	var which recordChoice
	var trust, against string
	c := &cobra.Command{
		Use: "verify", Short: "Check that nobody has changed a station's record", Args: noArgs,
		Long: `Fetches a station's records, computes every hash from the entries, and compares it
with the checkpoint that station and server have signed; with --against also with one
that was kept elsewhere. The exit code is 1 when a record is broken.`,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			if trust == "" && *data == "" {
				return usagef("%s needs --trust FILE, the server's root as stations have it, or --data", c.CommandPath())
			}
			if trust == "" {
				trust = filepath.Join(*data, "station-root", "root.pem")
			}
			keys, err := centralKeys(trust)
			if err != nil {
				return err
			}
			records, err := which.read(c.Context(), c, client)
			if err != nil {
				return err
			}
			if against != "" && len(records) != 1 {
				return usagef("--against is for one record: choose it with --installation")
			}
			var broken error
			verdicts := []verdict{}
			table := output.Rows{Header: []string{"INSTALLATION", "ENTRIES", "SINCE", "VERDICT"}, Empty: "The station has sent no record yet."}
			for _, r := range records {
				v := verdict{Record: r.origin, Entries: r.Size, Since: when(r.BegunAt)}
				said := "holds"
				if err := r.verify(which.station, keys, against); err != nil {
					broken, v.Broken, said = err, err.Error(), err.Error()
				}
				verdicts = append(verdicts, v)
				table.Rows = append(table.Rows, []string{r.InstanceId, strconv.FormatInt(v.Entries, 10), v.Since, said})
			}
			if err := format.Print(s.out, table, verdicts); err != nil {
				return err
			}
			return broken
		},
	}
	which.addFlags(c)
	c.Flags().StringVar(&trust, "trust", "", "`file` with the server's root (default: that in --data)")
	c.Flags().StringVar(&against, "against", "", "`file` with a checkpoint that was kept elsewhere")
	output.AddFlag(c.Flags(), &format)
	return c
}
