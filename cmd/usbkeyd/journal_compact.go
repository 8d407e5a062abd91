package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

// compaction is what journal compact did, or would.
type compaction struct {
	provision.Compacted
	// DryRun says that nothing was changed.
	DryRun bool `json:"dryRun"`
	// Bytes are those of the journal's file, before and after; Unused are what of it is not
	// used before.
	BytesBefore int64 `json:"bytesBefore"`
	BytesAfter  int64 `json:"bytesAfter"`
	Unused      int64 `json:"unused"`
}

func newJournalCompact(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	var dry bool
	c := &cobra.Command{
		Use: "compact", Short: "Take out of the journal what nobody needs here any more", Args: noArgs,
		Long: `Takes out of the journal what the daemon takes out by itself, a little at a time: all
of a job that was done with longer ago than journal.keep but what must not be
forgotten, and the record's lines of then, which the central server has and has
signed. Then the file is written anew, so that it shrinks; that takes as much room
again for a moment. The daemon must be stopped.

With --dry-run, also beside the daemon, it only tells what there is to take out.`,
		RunE: func(c *cobra.Command, _ []string) error {
			station, err := load()
			if err != nil {
				return err
			}
			if station.Journal.Keep == 0 {
				return &codeError{exitConfig, errors.New("journal.keep is 0: everything is kept for ever")}
			}
			var done *compaction
			if dry {
				err = withRecord(station, func(j *provision.Journal) (err error) {
					done, err = compactable(station, j)
					return err
				})
			} else {
				done, err = compactJournal(c.Context(), station)
			}
			if err != nil {
				return err
			}
			return s.print(format, output.Rows{Header: []string{"JOURNAL", journalPath(station.StateDir)}, Facts: true, Rows: [][]string{
				{"jobs", strconv.Itoa(done.Jobs)}, {"entries of the record", strconv.FormatInt(done.Entries, 10)},
				{"bytes before", strconv.FormatInt(done.BytesBefore, 10)}, {"not used", strconv.FormatInt(done.Unused, 10)}, {"bytes after", strconv.FormatInt(done.BytesAfter, 10)},
			}}, done)
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only tell what there is to take out")
	output.AddFlag(c.Flags(), &format)
	return c
}

// signedEntries is how many entries of the record the central server has signed.
func signedEntries(station *config.Station, j *provision.Journal) (int64, error) {
	origin, keys, err := recordOf(station)
	if err != nil {
		return 0, err
	}
	anchor, err := j.Anchor()
	if err != nil || anchor == nil {
		return 0, err
	}
	c, _, err := keys.OpenKept(anchor, origin)
	if err != nil {
		return 0, &audit.BrokenError{What: "the anchor that is kept with it cannot be used", Err: err}
	}
	return c.Size, nil
}

func compactable(station *config.Station, j *provision.Journal) (*compaction, error) {
	done := &compaction{DryRun: true}
	signed, err := signedEntries(station, j)
	if err == nil {
		done.Compacted, err = j.Compactable(time.Now().Add(-station.Journal.Keep), signed)
	}
	if err == nil {
		done.BytesBefore, done.Unused, err = j.Size()
		done.BytesAfter = done.BytesBefore
	}
	return done, err
}

// compactJournal compacts the whole journal, which must hold: what goes cannot be compared any more.
func compactJournal(ctx context.Context, station *config.Station) (done *compaction, err error) {
	if exists, err := provision.JournalExists(journalPath(station.StateDir)); err != nil || !exists {
		return nil, errors.Join(err, fmt.Errorf("there is no journal in %s", station.StateDir))
	}
	lock, err := lockState(station.StateDir, tokensLock, otherUsbkeyd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	j, err := provision.OpenJournal(journalPath(station.StateDir))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	origin, keys, err := recordOf(station)
	if err != nil {
		return nil, err
	}
	state, err := verifyRecord(j, origin, keys, "")
	if err != nil {
		return nil, err
	}
	done = &compaction{}
	if done.BytesBefore, done.Unused, err = j.Size(); err != nil {
		return nil, err
	}
	before := time.Now().Add(-station.Journal.Keep)
	for {
		part, err := j.Compact(before, state.Anchored)
		if err != nil {
			return nil, err
		}
		if part == (provision.Compacted{}) {
			break
		}
		done.Jobs, done.Entries = done.Jobs+part.Jobs, done.Entries+part.Entries
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if err := j.Rebuild(ctx); err != nil {
		return nil, err
	}
	done.BytesAfter, _, err = j.Size()
	return done, err
}
