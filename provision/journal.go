package provision

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/sqlite"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Journal is the durable memory of a station's jobs and its outbox: one SQLite
// file (WAL, synchronous FULL), so that a job's last state and its report are one
// transaction. It is safe for concurrent use.
type Journal struct {
	db   *sql.DB
	path string
	// together has the transactions of jobs that come at the same time share a commit, and
	// its sync.
	together *sqlite.Together
}

//go:embed schema_*.sql
var journalSchema embed.FS

// journalVersion is the schema's version, kept in SQLite's user_version: how many of
// the schema's files, in their order, have been applied. A file of a newer version is
// refused.
const journalVersion = 11

// busyTimeout is how long a statement waits for another process.
const busyTimeout = 10 * time.Second

// recordVersion is that in which the record came.
const recordVersion = 4

// JournalExists reports whether there is a journal file at path.
func JournalExists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// OpenJournal opens the file, or makes it (0600) in an existing folder. A damaged
// file and one of a newer version are errors: nothing is repaired silently.
func OpenJournal(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close(), onlyOwnerReads(path)); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var first []string
	if info.Size() == 0 {
		// It is written at once, which an older file on a full disk could not be.
		first = []string{givesBack}
	}
	j := openJournal(path, "rw", first...)
	if err := j.prepare(); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, syncDir(filepath.Dir(path))
}

// ReadJournal opens an existing journal for reading only, beside a running daemon. One of
// another version is an error.
func ReadJournal(path string) (*Journal, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := openJournal(path, "ro")
	version, err := j.version()
	if err == nil && version < journalVersion {
		err = fmt.Errorf("journal %s was written by an older usbkeyd (schema %d, this one knows %d); run this one's daemon once, which brings it up to date", path, version, journalVersion)
	}
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// version is the schema's, of this version or an older one.
func (j *Journal) version() (version int, err error) {
	if err := j.db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return 0, fmt.Errorf("journal %s: %w", j.path, err)
	}
	if version > journalVersion {
		return 0, fmt.Errorf("journal %s was written by a newer usbkeyd (schema %d, this one knows %d); install that version again", j.path, version, journalVersion)
	}
	return version, nil
}

// givesBack lets a file give back what is not used any more, if it is new or is written anew.
const givesBack = "auto_vacuum(incremental)"

// openJournal opens the file; first are settings that come before its own.
func openJournal(path, mode string, first ...string) *Journal {
	q := url.Values{"mode": {mode}, "_txlock": {"immediate"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "foreign_keys(1)"}}
	if mode != "ro" {
		// What is deleted is overwritten: there are PINs among it.
		q["_pragma"] = append(append(q["_pragma"], first...), "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(1)")
	}
	db := sql.OpenDB(sqlite.Connector{DSN: "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()})
	db.SetMaxOpenConns(1) // one writer
	return &Journal{db: db, path: path, together: sqlite.NewTogether(db)}
}

// prepare checks the file and brings its schema up to date.
func (j *Journal) prepare() error {
	var check string
	if err := j.db.QueryRow("PRAGMA quick_check(1)").Scan(&check); err != nil || check != "ok" {
		return fmt.Errorf("journal %s is damaged (%s): keep it, and put back the last copy: %w", j.path, check, errors.Join(err, ErrJournal))
	}
	version, err := j.version()
	if err != nil || version == journalVersion {
		return err
	}
	return j.transact(crashpoint.JournalSchema, func(tx *sql.Tx) error {
		for n := version + 1; n <= journalVersion; n++ {
			step, err := journalSchema.ReadFile(fmt.Sprintf("schema_%d.sql", n))
			if err != nil {
				return err
			}
			if _, err := tx.Exec(string(step)); err != nil {
				return err
			}
			if n != recordVersion {
				continue
			}
			if err := earlier(tx); err != nil {
				return err
			}
		}
		_, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", journalVersion))
		return err
	})
}

// Close closes the file, when what is being written is written.
func (j *Journal) Close() error {
	j.together.Close()
	return j.db.Close()
}

// transact runs f in one durable transaction; whatever fails is an ErrJournal. Those that
// come at the same time share a commit: f may run again when one of them has spoilt it.
func (j *Journal) transact(what crashpoint.Label, f func(*sql.Tx) error) error {
	err := j.together.Do(context.Background(), func(tx *sql.Tx) error {
		err := f(tx)
		if err == nil {
			crashpoint.Before(what)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	crashpoint.After(what)
	return nil
}

// NewJob is a job that is to be journalled, for a token and under a lease's epoch.
type NewJob struct {
	Job   Job
	Epoch int64
	Token TokenRef
}

// Create journals a new job for a token before anything is done for it, and gives
// the job its id. A token or unit that another unfinished job has is refused.
func (j *Journal) Create(job Job, epoch int64, token TokenRef) (*Record, error) {
	made, err := j.CreateAll([]NewJob{{job, epoch, token}})
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// CreateAll is Create for a wave of jobs: all of them are journalled, or none.
func (j *Journal) CreateAll(all []NewJob) ([]*Record, error) {
	var made []*Record
	err := j.transact(crashpoint.JournalJob, func(tx *sql.Tx) error {
		made = nil
		for _, n := range all {
			rec, err := j.create(tx, n)
			if err != nil {
				return fmt.Errorf("job for unit %s on %s: %w", n.Job.UnitID(), n.Token.Identity, err)
			}
			made = append(made, rec)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (j *Journal) create(tx *sql.Tx, n NewJob) (*Record, error) {
	rec := &Record{Job: n.Job, State: StateQueued, Epoch: n.Epoch, Token: n.Token}
	if steps := Plan(n.Job); len(steps) > 0 {
		rec.Step = steps[0].Name
	}
	var attempt int
	err := tx.QueryRow("SELECT 1 + COALESCE(MAX(attempt), 0) FROM job WHERE unit_id = $1 AND generation = $2",
		n.Job.UnitID(), n.Job.Generation).Scan(&attempt)
	if err != nil {
		return nil, err
	}
	rec.Job.ID = JobID(n.Job.UnitID(), n.Job.Generation, attempt)
	body, err := json.Marshal(rec.Job)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(`INSERT INTO job (id, unit_id, generation, attempt, state, step, epoch, module, token_serial, token_slot,
		token_model, waiting, reason, hint, busy_ms, updated_at, job, facts)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '', '', '', 0, $12, $13, '{}')`,
		rec.Job.ID, n.Job.UnitID(), n.Job.Generation, attempt, rec.State, rec.Step, n.Epoch,
		n.Token.Module, n.Token.Identity.Serial, n.Token.Identity.SlotDescription, n.Token.Model, n.Job.CreatedAt.UnixMilli(), string(body))
	if err != nil {
		return nil, err
	}
	return rec, errors.Join(j.note(tx, rec, "claimed"), witness(tx, intended(rec, "claimed")))
}

// Save makes the record durable, with a note of what is about to be done. A step that is
// done under the same intent is recorded with it; "" for none.
func (j *Journal) Save(rec *Record, note string, ahead StepName) error {
	acts := []audit.Entry{intended(rec, note)}
	if ahead != "" {
		next := *rec
		next.Step = ahead
		acts = append(acts, intended(&next, string(ahead)))
	}
	return j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error {
		return errors.Join(j.save(tx, rec, note), witness(tx, acts...))
	})
}

// Finish makes a final state durable together with its report, if there is one. PINs of
// a token that was never written go with it.
func (j *Journal) Finish(rec *Record, report *Report) error {
	before := rec.Facts
	if rec.State == StateFailed {
		rec.Facts.forgetPINs()
	}
	err := j.transact(crashpoint.JournalEnd, func(tx *sql.Tx) error {
		if err := errors.Join(j.save(tx, rec, string(rec.State)), witness(tx, ended(rec, report))); err != nil {
			return err
		}
		if rec.State == StateFinished {
			if _, err := tx.Exec("INSERT INTO evidence (job_id, n) SELECT $1, MAX(n) FROM record", rec.Job.ID); err != nil {
				return err
			}
			if err := beginLabel(tx, rec); err != nil {
				return err
			}
		}
		return tell(tx, report, rec.UpdatedAt)
	})
	if err != nil { // the job goes on, and needs its PINs
		rec.Facts = before
	}
	return err
}

// tell puts a report into the outbox, if there is one.
func tell(tx *sql.Tx, report *Report, at time.Time) error {
	if report == nil {
		return nil
	}
	body, err := json.Marshal(report)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO report (job_id, body, sha256, made_at) VALUES ($1, $2, $3, $4)",
		report.JobID, string(body), sha256hex(body), at.UnixMilli())
	return err
}

func (j *Journal) save(tx *sql.Tx, rec *Record, note string) error {
	rec.UpdatedAt = time.Now()
	facts, err := json.Marshal(rec.Facts)
	if err != nil {
		return err
	}
	var key any
	// A job that was given up no longer claims its key: it may have been given up
	// because another job has the same one.
	if len(rec.Facts.PublicKey) > 0 && rec.State != StateFailed && rec.State != StateQuarantined {
		key = sha256hex(rec.Facts.PublicKey)
	}
	// SQLite writes an index anew for every column of it that is named, changed or not.
	if _, err := tx.Exec(`UPDATE job SET state = $2, token_serial = $3, token_slot = $4, public_key_sha256 = $5
		WHERE id = $1 AND (state, token_serial, token_slot, public_key_sha256) IS NOT ($2, $3, $4, $5)`,
		rec.Job.ID, rec.State, rec.Token.Identity.Serial, rec.Token.Identity.SlotDescription, key); err != nil {
		return err
	}
	res, err := tx.Exec(`UPDATE job SET step = $2, epoch = $3, token_model = $4, waiting = $5, reason = $6, hint = $7,
		busy_ms = $8, updated_at = $9, facts = $10 WHERE id = $1`,
		rec.Job.ID, rec.Step, rec.Epoch, rec.Token.Model, rec.Waiting, rec.Reason, rec.Hint,
		rec.Busy.Milliseconds(), rec.UpdatedAt.UnixMilli(), string(facts))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("job %s is not in the journal", rec.Job.ID))
	}
	return j.note(tx, rec, note)
}

func (j *Journal) note(tx *sql.Tx, rec *Record, note string) error {
	_, err := tx.Exec("INSERT INTO entry (job_id, at, state, step, epoch, note) VALUES ($1, $2, $3, $4, $5, $6)",
		rec.Job.ID, time.Now().UnixMilli(), rec.State, rec.Step, rec.Epoch, note)
	return err
}

// roomForAJob is more than one job adds to the file, in bytes.
const roomForAJob = 64 << 10

// Check is Writable before a unit is claimed, so that a full disk is found in time.
func (j *Journal) Check(ctx context.Context) error {
	crashpoint.Before(crashpoint.JournalRoom)
	err := j.Writable(ctx)
	if err == nil {
		crashpoint.After(crashpoint.JournalRoom)
	}
	return err
}

// Writable writes as much as a job does and makes it durable.
func (j *Journal) Writable(ctx context.Context) error {
	_, err := j.db.ExecContext(ctx, "INSERT INTO room (id, filler) VALUES (1, randomblob($1)) ON CONFLICT (id) DO UPDATE SET filler = excluded.filler", roomForAJob)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}

const recordColumns = "state, step, epoch, module, token_serial, token_slot, token_model, waiting, reason, hint, busy_ms, updated_at, job, facts"

func scanRecord(row interface{ Scan(...any) error }) (*Record, error) {
	var r Record
	var busy, updated int64
	var job, facts []byte
	err := row.Scan(&r.State, &r.Step, &r.Epoch, &r.Token.Module, &r.Token.Identity.Serial, &r.Token.Identity.SlotDescription,
		&r.Token.Model, &r.Waiting, &r.Reason, &r.Hint, &busy, &updated, &job, &facts)
	if err != nil {
		return nil, err
	}
	r.Busy, r.UpdatedAt = time.Duration(busy)*time.Millisecond, time.UnixMilli(updated)
	if err := errors.Join(json.Unmarshal(job, &r.Job), json.Unmarshal(facts, &r.Facts)); err != nil {
		return nil, fmt.Errorf("%w: job %s: %w", ErrJournal, r.Job.ID, err)
	}
	return &r, nil
}

// reader is the journal, or a transaction of it, for what only looks.
type reader interface {
	Query(query string, args ...any) (*sql.Rows, error)
	QueryRow(query string, args ...any) *sql.Row
}

// jobs returns the records that the condition selects, oldest first.
func (j *Journal) jobs(where string, args ...any) ([]*Record, error) {
	return jobsIn(j.db, where, args...)
}

func jobsIn(db reader, where string, args ...any) ([]*Record, error) {
	rows, err := db.Query("SELECT "+recordColumns+" FROM job WHERE "+where+" ORDER BY rowid", args...) // #nosec G202 -- conditions are written here, values are parameters
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var out []*Record
	for rows.Next() {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		out = append(out, r)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// All returns every job, oldest first.
func (j *Journal) All() ([]*Record, error) { return j.jobs("1 = 1") }

// Latest returns the last n jobs that were made, oldest first.
func (j *Journal) Latest(n int) ([]*Record, error) {
	return j.jobs("rowid > (SELECT max(rowid) FROM job) - $1", n) // none is ever deleted
}

// Unfinished returns the jobs that are in no final state, oldest first.
func (j *Journal) Unfinished() ([]*Record, error) {
	return j.jobs("state IN ('queued', 'running', 'parked')")
}

// Job returns one job by its id; nil when there is none.
func (j *Journal) Job(id string) (*Record, error) {
	all, err := j.jobs("id = $1", id)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// Knows reports whether there has been a job for the unit's generation that bound
// a key, or worked under this epoch or a later one. Such a unit must not be begun again.
func (j *Journal) Knows(unitID string, generation int, epoch int64) (bool, error) {
	found, err := j.jobs(`unit_id = $1 AND generation = $2 AND (epoch >= $3 OR facts ->> '$.Bound' = 1)`, unitID, generation, epoch)
	return len(found) > 0, err
}

// LabelGiven reports whether a token label is that of another job of this station.
func (j *Journal) LabelGiven(rec *Record, label pkcs11.TokenLabel) (bool, error) {
	var n int
	err := j.db.QueryRow("SELECT count(*) FROM job WHERE id <> $1 AND json_extract(job, '$.TokenLabel') = $2", rec.Job.ID, string(label)).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return n > 0, nil
}

// SerialsOfOthers returns the token serials that other jobs have had in the same module.
func (j *Journal) SerialsOfOthers(rec *Record) ([]pkcs11.TokenSerial, error) {
	rows, err := j.db.Query("SELECT DISTINCT token_serial FROM job WHERE module = $1 AND id <> $2 AND token_serial <> ''", rec.Token.Module, rec.Job.ID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var out []pkcs11.TokenSerial
	for rows.Next() {
		var s pkcs11.TokenSerial
		if err := rows.Scan(&s); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		out = append(out, s)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// Entry is one line of a job's history.
type Entry struct {
	At    time.Time
	State State
	Step  StepName
	Epoch int64
	Note  string
}

// History returns what the journal noted of a job, in order.
func (j *Journal) History(jobID string) ([]Entry, error) {
	rows, err := j.db.Query("SELECT at, state, step, epoch, note FROM entry WHERE job_id = $1 ORDER BY seq", jobID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var out []Entry
	for rows.Next() {
		var e Entry
		var at int64
		if err := rows.Scan(&at, &e.State, &e.Step, &e.Epoch, &e.Note); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		e.At = time.UnixMilli(at)
		out = append(out, e)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}
