package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

// recordState is what audit verify found.
type recordState struct {
	Record  string `json:"record"`
	Entries int64  `json:"entries"`
	// From is the first entry of which the line is still here.
	From int64  `json:"from"`
	Root string `json:"root"`
	// Anchored is how many of them the central server has signed, 0 for none.
	Anchored int64 `json:"anchored"`
	// EarlierKey says that the station signed that with a key that it had before.
	EarlierKey bool `json:"earlierKey,omitempty"`
	// Against is the size of the checkpoint that was given.
	Against *int64 `json:"against,omitempty"`
}

func newAuditVerify(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	var against string
	c := &cobra.Command{
		Use: "verify", Short: "Check that nobody has changed this station's record", Args: noArgs,
		Long: `Computes every hash of the record from its entries, and compares it with the last
checkpoint that the central server has signed. Whatever that covers cannot have been
changed, dropped or moved since. With --against, also with a checkpoint that was kept
elsewhere, as audit export --checkpoint writes it: then the record cannot have been
put back to before that either, not even by whoever can change this station's files
and the central server.

Entries that were compacted are at the central server only, and count by their hashes:
usbkey-central audit verify goes through them, and compares a checkpoint of before.

Exit code 6 says that the record is broken.`,
		RunE: func(*cobra.Command, []string) error {
			station, err := load()
			if err != nil {
				return err
			}
			return withRecord(station, func(j *provision.Journal) error {
				origin, keys, err := recordOf(station)
				if err != nil {
					return err
				}
				state, err := verifyRecord(j, origin, keys, against)
				if err != nil {
					return err
				}
				table := output.Rows{Header: []string{"RECORD", state.Record}, Facts: true, Rows: [][]string{
					{"entries", strconv.FormatInt(state.Entries, 10)}, {"here from entry", strconv.FormatInt(state.From, 10)}, {"root", state.Root}, {"signed by the central server", strconv.FormatInt(state.Anchored, 10)},
				}}
				if state.EarlierKey {
					table.Rows = append(table.Rows, []string{"signed by the station", s.words.Say("with a key that it had before")})
				}
				if state.Against != nil {
					table.Rows = append(table.Rows, []string{"in " + against, strconv.FormatInt(*state.Against, 10)})
				}
				if err := s.print(format, table, state); err != nil {
					return err
				}
				_, err = s.words.Fprintln(s.err, "The record holds.")
				return err
			})
		},
	}
	c.Flags().StringVar(&against, "against", "", "`file` with a checkpoint that was kept elsewhere")
	output.AddFlag(c.Flags(), &format)
	return c
}

func verifyRecord(j *provision.Journal, origin string, keys audit.Keys, against string) (*recordState, error) {
	state := &recordState{Record: origin}
	var known []audit.Checkpoint
	anchor, err := j.Anchor()
	if err != nil {
		return nil, err
	}
	if anchor != nil {
		c, earlier, err := keys.OpenKept(anchor, origin)
		if err != nil {
			return nil, &audit.BrokenError{What: "the anchor that is kept with it cannot be used", Err: err}
		}
		state.Anchored, state.EarlierKey, known = c.Size, earlier, append(known, c)
	}
	if against != "" {
		signed, err := os.ReadFile(against)
		if err != nil {
			return nil, fmt.Errorf("--against: %w", err)
		}
		c, _, err := keys.Open(signed, origin)
		if err != nil {
			return nil, fmt.Errorf("--against %s: %w", against, err)
		}
		state.Against, known = &c.Size, append(known, c)
	}
	base, err := j.RecordBase()
	if err != nil {
		return nil, err
	}
	if state.Against != nil && *state.Against < base.Size {
		return nil, fmt.Errorf("--against %s: it is of %d entries, and those up to %d were compacted: compare it at the central server, with usbkey-central audit verify --against", against, *state.Against, base.Size)
	}
	whole, err := audit.VerifyFrom(base, j.Record(), known...)
	if err != nil {
		return nil, err
	}
	state.From = base.Size
	state.Entries, state.Root = whole.Size, base64.StdEncoding.EncodeToString(whole.Root[:])
	return state, nil
}
