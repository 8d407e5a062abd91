package provision

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// Compaction takes out of the journal what nobody needs here any more. What keeps a unit,
// a key, a label or a token from being used twice stays, job by job.

// Compacted is what went, or would.
type Compacted struct {
	// Jobs are those of which only what must not be forgotten is left.
	Jobs int `json:"jobs"`
	// Entries are lines of the record, which the central server has.
	Entries int64 `json:"entries"`
}

const (
	// jobsAtOnce and entriesAtOnce bound one transaction, for which a token may have to wait.
	jobsAtOnce    = 16
	entriesAtOnce = 256
	// pagesAtOnce bound what is given back to the file system after one.
	pagesAtOnce = 256
)

// doneQuery selects jobs of which everything is said and done: $1 is the time, in Unix
// milliseconds, before which they last changed, $2 how many entries of the record the central
// server has signed. A finished one's parcel has left, so that its PINs are gone; its statement
// is made and its label is where it belongs. A quarantined one was decided about.
const doneQuery = `FROM job INDEXED BY job_whole WHERE state IN ('finished', 'failed', 'quarantined') AND json_extract(facts, '$.Compacted') IS NULL AND updated_at < $1
	AND json_extract(facts, '$.SOPINBox') IS NULL AND json_extract(facts, '$.UserPINBox') IS NULL
	AND (state <> 'quarantined' OR json_extract(facts, '$.Decision.Released') IS NOT NULL)
	AND (state <> 'finished' OR EXISTS (SELECT 1 FROM evidence e WHERE e.job_id = job.id AND e.statement IS NOT NULL AND e.n < $2))
	AND NOT EXISTS (SELECT 1 FROM report WHERE report.job_id = job.id AND sent_at IS NULL)
	AND NOT EXISTS (SELECT 1 FROM label WHERE label.job_id = job.id AND label.state NOT IN ('stuck', 'aside'))`

// Compact takes one bounded part of what last changed before a time out of the journal, in
// one transaction: first jobs, and lines of the record from its beginning. anchored is how
// many entries the central server has and has signed; no more than those go. When nothing
// is left to do the journal is not written. A record that lacks a row is an audit.ErrBroken.
func (j *Journal) Compact(before time.Time, anchored int64) (done Compacted, err error) {
	jobs, err := j.jobs("rowid IN (SELECT rowid "+doneQuery+" ORDER BY updated_at LIMIT $3)", before.UnixMilli(), anchored, jobsAtOnce)
	if err != nil {
		return done, err
	}
	from, to, configuration, err := j.droppable(before, anchored, entriesAtOnce)
	if err != nil || len(jobs) == 0 && from == to {
		return done, err
	}
	err = j.transact(crashpoint.JournalCompact, func(tx *sql.Tx) error {
		for _, r := range jobs {
			if err := thin(tx, r); err != nil {
				return fmt.Errorf("job %s: %w", r.Job.ID, err)
			}
		}
		return dropLines(tx, from, to, configuration)
	})
	if err != nil {
		return done, err
	}
	return Compacted{Jobs: len(jobs), Entries: to - from}, nil
}

// Compactable is what Compact would take out, called until nothing is left.
func (j *Journal) Compactable(before time.Time, anchored int64) (would Compacted, err error) {
	if err := j.db.QueryRow("SELECT count(*) "+doneQuery, before.UnixMilli(), anchored).Scan(&would.Jobs); err != nil {
		return would, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	from, to, _, err := j.droppable(before, anchored, anchored)
	would.Entries = to - from
	return would, err
}

// thin leaves of a job what later ones are held against, and what tells a person what became
// of it: not what it was made of, and nothing of a person. Its statement stays, which is
// nowhere else.
func thin(tx *sql.Tx, r *Record) error {
	f := r.Facts
	for i := range f.Letters {
		f.Letters[i].Says = ""
	}
	facts, err := json.Marshal(Facts{
		Compacted: true, AsMade: f.AsMade, MadeLabel: f.MadeLabel, DeliveredAs: f.DeliveredAs, Touched: f.Touched, FactoryTried: f.FactoryTried,
		FactoryTriedAt: f.FactoryTriedAt, Blank: f.Blank, Factory: f.Factory, Lot: f.Lot, Delivery: f.Delivery, EscrowID: f.EscrowID, Letters: f.Letters, KeyID: f.KeyID,
		PublicKey: f.PublicKey, Bound: f.Bound, Withdrawn: f.Withdrawn, Decision: f.Decision,
		CertificateSerial: f.CertificateSerial, CertificateSHA256: f.CertificateSHA256,
	})
	if err != nil {
		return err
	}
	of := r.Job.Subject
	job, err := json.Marshal(Job{
		ID: r.Job.ID, Kind: r.Job.Kind, Generation: r.Job.Generation, ValidityYears: r.Job.ValidityYears, DueAt: r.Job.DueAt, TokenLabel: r.Job.TokenLabel, CreatedAt: r.Job.CreatedAt,
		Subject: csr.SubjectData{OrderID: of.OrderID, UnitID: of.UnitID, Sequence: of.Sequence, Of: of.Of, ProductCode: of.ProductCode},
	})
	if err != nil {
		return err
	}
	for _, s := range []struct {
		statement string
		args      []any
	}{
		// A row that only shrinks keeps its page for itself. One that goes and comes back shares.
		{"UPDATE job SET rowid = -rowid, job = $2, facts = $3 WHERE id = $1", []any{r.Job.ID, string(job), string(facts)}},
		{"UPDATE job SET rowid = -rowid WHERE id = $1", []any{r.Job.ID}},
		// A day is counted by the ends of jobs.
		{`DELETE FROM entry WHERE job_id = $1 AND seq IS NOT (SELECT min(seq) FROM entry WHERE job_id = $1 AND state IN ` + final + `)`, []any{r.Job.ID}},
	} {
		if _, err := tx.Exec(s.statement, s.args...); err != nil {
			return err
		}
	}
	return thinReports(tx, r.Job.ID)
}

// thinReports leaves of a job's reports of which kind they were and what was answered.
func thinReports(tx *sql.Tx, job string) error {
	rows, err := tx.Query("SELECT id, json_extract(body, '$.Kind') FROM report WHERE job_id = $1", job)
	if err != nil {
		return err
	}
	kinds := map[int64]ReportKind{}
	for rows.Next() {
		var id int64
		var kind ReportKind
		if err := rows.Scan(&id, &kind); err != nil {
			return errors.Join(err, rows.Close())
		}
		kinds[id] = kind
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for id, kind := range kinds {
		body, err := json.Marshal(struct{ Kind ReportKind }{kind})
		if err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE report SET id = -id, body = $2, sha256 = $3 WHERE id = $1", id, string(body), sha256hex(body))
		if err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE report SET id = -id WHERE id = -$1", id); err != nil {
			return err
		}
	}
	return nil
}

// droppable says which lines of the record may go, from one up to another, at most so many:
// those that the central server has signed, from before the time, and before the end of the
// first key about which there is no statement yet. configuration is that of the last start
// among them, or before.
func (j *Journal) droppable(before time.Time, anchored, most int64) (from, to int64, configuration string, err error) {
	if err := j.db.QueryRow("SELECT n, configuration FROM record_base").Scan(&from, &configuration); err != nil {
		return 0, 0, "", recordFailed(err)
	}
	var unstated sql.NullInt64
	if err := j.db.QueryRow("SELECT min(n) FROM evidence WHERE statement IS NULL").Scan(&unstated); err != nil {
		return 0, 0, "", recordFailed(err)
	}
	limit := min(anchored, from+most)
	if unstated.Valid {
		limit = min(limit, unstated.Int64)
	}
	for to = from; to < limit; {
		rows, err := j.RecordRows(to, int(min(limit-to, recordPage)))
		if err != nil {
			return 0, 0, "", err
		}
		if len(rows) == 0 {
			return 0, 0, "", &audit.BrokenError{Index: to, What: "it is missing"}
		}
		for _, row := range rows {
			e, err := audit.Decode(row.Line)
			if err != nil {
				return 0, 0, "", &audit.BrokenError{Index: to, What: "its line is not one", Err: err}
			}
			if !e.Time.Before(before) {
				return from, to, configuration, nil
			}
			if e.Kind == audit.KindStart || e.Kind == audit.KindConfigChange {
				configuration = e.Hashes["configuration"]
			}
			to++
		}
	}
	return from, max(from, to), configuration, nil
}

// dropLines has the record's lines begin later.
func dropLines(tx *sql.Tx, from, to int64, configuration string) error {
	if from == to {
		return nil
	}
	kept, err := json.Marshal(audit.BaseRows(to))
	if err != nil {
		return err
	}
	for _, s := range []struct {
		statement string
		args      []any
	}{
		{"DELETE FROM record WHERE n < $1 AND n NOT IN (SELECT value FROM json_each($2))", []any{to, string(kept)}},
		{"UPDATE record SET line = '' WHERE n < $1", []any{to}},
		{"UPDATE record_base SET n = $1, configuration = $2", []any{to, configuration}},
	} {
		if _, err := tx.Exec(s.statement, s.args...); err != nil {
			return err
		}
	}
	return nil
}

// RecordBase is where the record's lines begin, and the hashes of what was before.
func (j *Journal) RecordBase() (audit.Base, error) {
	var n int64
	if err := j.db.QueryRow("SELECT n FROM record_base").Scan(&n); err != nil {
		return audit.Base{}, recordFailed(err)
	}
	base, err := (audit.Log{Storage: recordRows{j.db}}).Base(n)
	return base, recordFailed(err)
}

// VerifyRecord is audit.VerifyFrom of the record as it is here.
func (j *Journal) VerifyRecord(checkpoints ...audit.Checkpoint) (audit.Checkpoint, error) {
	base, err := j.RecordBase()
	if err != nil {
		return audit.Checkpoint{}, err
	}
	return audit.VerifyFrom(base, j.Record(), checkpoints...)
}

// GiveBack gives some of the pages that are not used any more back to the file system. A
// journal that an earlier version made keeps them until Rebuild.
func (j *Journal) GiveBack(ctx context.Context) error {
	// A row for each page: it is done when all have been read.
	rows, err := j.db.QueryContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pagesAtOnce))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	for rows.Next() { // nothing is in them
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}

// Rebuild writes the whole file anew, without what is not used, so that GiveBack works from
// then on. It takes as much room again for a moment, and everybody waits for it.
func (j *Journal) Rebuild(ctx context.Context) error {
	if _, err := j.db.ExecContext(ctx, "PRAGMA auto_vacuum = incremental; VACUUM"); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return j.Shred(ctx)
}

// Size is how many bytes the file has without its log, and how many of them are not used.
func (j *Journal) Size() (whole, unused int64, err error) {
	var page, pages, free int64
	for query, into := range map[string]*int64{"PRAGMA page_size": &page, "PRAGMA page_count": &pages, "PRAGMA freelist_count": &free} {
		if err := j.db.QueryRow(query).Scan(into); err != nil {
			return 0, 0, fmt.Errorf("%w: %w", ErrJournal, err)
		}
	}
	return pages * page, free * page, nil
}
