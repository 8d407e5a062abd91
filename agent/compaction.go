package agent

import (
	"context"
	"errors"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// compactEvery is the time between two looks for what can go, when the last found nothing; less
// where less is kept.
const compactEvery = time.Minute

// compact takes one bounded part of what is older than Config.Keep out of the journal, and
// gives room back to the file system. It belongs to whoever sends the record: no line goes that
// the central server has not signed, and has as of its last answer. The error is that the
// record is broken; whatever else fails is tried again.
func (a *Agent) compact(ctx context.Context) error {
	now := time.Now()
	if a.Keep <= 0 || a.Record == nil || now.Before(a.compactAfter) {
		return nil
	}
	journal := a.Runner.Journal
	done, err := journal.Compact(now.Add(-a.Keep), a.sent)
	if err == nil {
		err = journal.GiveBack(ctx)
	}
	if errors.Is(err, audit.ErrBroken) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("the journal cannot be compacted now", "error", err)
	}
	if done.Jobs == 0 && done.Entries == 0 {
		a.compactAfter = now.Add(min(compactEvery, a.Keep))
		return nil
	}
	a.compactedJobs.Add(int64(done.Jobs))
	a.compactedEntries.Add(done.Entries)
	a.log.Info("the journal was compacted", "jobs", done.Jobs, "entries", done.Entries, "olderThan", a.Keep.String(), "took", time.Since(now).Round(time.Millisecond).String())
	return nil
}

// Compacted is how many jobs, and entries of the record, were taken out of the journal since
// the start.
func (a *Agent) Compacted() (jobs, entries int64) {
	return a.compactedJobs.Load(), a.compactedEntries.Load()
}
