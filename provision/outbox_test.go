package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// endJob ends a new job with its report.
func endJob(j *Journal, sequence int) error {
	rec, err := j.Create(sampleJob(sequence), 1, token(fmt.Sprintf("A%d", sequence)))
	if err != nil {
		return err
	}
	return endRecord(j, rec)
}

func endRecord(j *Journal, rec *Record) error {
	was := rec.State
	rec.State = StateFinished
	err := j.Finish(rec, &Report{JobID: rec.Job.ID, Kind: ReportResult, UnitID: rec.Job.UnitID(), Outcome: OutcomeInstalled})
	if err != nil {
		rec.State = was
	}
	return err
}

// TestOutboxSurvivesATornWrite: the machine loses power while a job's end and its report
// are being written, so that the disk has only a part of them, or something else in their
// place. Both are there afterwards, or neither; what was there before is, in any case;
// and the job can be ended again.
func TestOutboxSurvivesATornWrite(t *testing.T) {
	const before = 3
	j, path := openTestJournal(t)
	for n := 1; n <= before; n++ {
		if err := endJob(j, n); err != nil {
			t.Fatal(err)
		}
	}
	last, err := j.Create(sampleJob(before+1), 1, token("last"))
	if err != nil {
		t.Fatal(err)
	}
	base, whole := readBoth(t, path)
	if err := endRecord(j, last); err != nil {
		t.Fatal(err)
	}
	after, full := readBoth(t, path)
	if len(full) <= len(whole) || !strings.HasPrefix(string(full), string(whole)) || string(after) != string(base) {
		t.Fatalf("the end of a job is not what was added to the log: %d bytes, then %d", len(whole), len(full))
	}
	torn := map[string]func(at int) []byte{
		"cut off": func(at int) []byte { return full[:at] },
		"zeroes":  func(at int) []byte { return append(clone(full[:at]), make([]byte, len(full)-at)...) },
		"one bit": func(at int) []byte {
			out := clone(full)
			out[at] ^= 1
			return out
		},
	}
	lost, kept := 0, 0
	for name, tear := range torn {
		for at := len(whole); at < len(full); at += 509 {
			if survivesTorn(t, fmt.Sprintf("%s at %d", name, at), base, tear(at), before) {
				kept++
			} else {
				lost++
			}
		}
	}
	if !survivesTorn(t, "whole", base, full, before) {
		t.Error("the whole end of the job is not there")
	}
	if lost == 0 {
		t.Errorf("all of %d torn writes were whole", kept)
	}
	t.Logf("%d torn writes left nothing, %d were whole all the same", lost, kept)
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// readBoth reads the journal's file and its write-ahead log.
func readBoth(t *testing.T, path string) (base, log []byte) {
	t.Helper()
	base, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if log, err = os.ReadFile(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	return base, log
}

// survivesTorn opens a journal with such a write-ahead log and reports whether its last
// job has ended.
func survivesTorn(t *testing.T, what string, base, log []byte, before int) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	if err := errors.Join(os.WriteFile(path, base, 0o600), os.WriteFile(path+"-wal", log, 0o600)); err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer func() { _ = j.Close() }()
	reports, err := j.PendingReports(10)
	records, err2 := j.All()
	if err != nil || err2 != nil || len(records) != before+1 || len(reports) < before {
		t.Fatalf("%s: %d jobs, %d reports (%v, %v)", what, len(records), len(reports), err, err2)
	}
	last := records[before]
	ended := last.State == StateFinished
	if reported := len(reports) == before+1; ended != reported {
		t.Errorf("%s: the job is %s, and there are %d reports", what, last.State, len(reports))
	}
	if !ended {
		if err := endRecord(j, last); err != nil {
			t.Errorf("%s: end the job again: %v", what, err)
		}
	}
	if n, err := j.CountPendingReports(); err != nil || n != before+1 {
		t.Errorf("%s: %d reports wait in the end (%v)", what, n, err)
	}
	return ended
}

// TestOutboxNoticesDamage: a report that was changed on disk is not sent.
func TestOutboxNoticesDamage(t *testing.T) {
	j, _ := openTestJournal(t)
	rec, err := j.Create(sampleJob(1), 1, token("A1"))
	if err != nil {
		t.Fatal(err)
	}
	rec.State = StateFinished
	if err := j.Finish(rec, &Report{JobID: rec.Job.ID, Kind: ReportResult, Outcome: OutcomeInstalled}); err != nil {
		t.Fatal(err)
	}
	reports, err := j.PendingReports(10)
	if err != nil || len(reports) != 1 {
		t.Fatal(reports, err)
	}
	if _, err := j.db.ExecContext(context.Background(), "UPDATE report SET body = replace(body, 'installed', 'destroyed')"); err != nil {
		t.Fatal(err)
	}
	if _, err := j.PendingReports(10); !errors.Is(err, ErrJournal) {
		t.Errorf("a changed report: %v", err)
	}
	if err := j.ReportSent(reports[0].ID, "INSTALLED"); err != nil {
		t.Fatal(err)
	}
	if n, err := j.CountPendingReports(); err != nil || n != 0 {
		t.Errorf("%d reports wait (%v)", n, err)
	}
}
