package provision

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// Possession is a challenge that a token signed once its certificate was there.
type Possession struct {
	Challenge []byte
	// Hash is that of the key's algorithm, such as SHA-256.
	Hash      string
	Signature []byte
}

// Unstated is a finished job about which no statement has been made.
type Unstated struct {
	Record *Record
	// N is the entry of the station's record about the job's end, and Line that entry.
	N    int64
	Line []byte
}

// Unstated lists up to limit finished jobs without a statement whose end is among the
// first size entries of the record and after the one given, oldest first; -1 begins.
func (j *Journal) Unstated(after, size int64, limit int) ([]Unstated, error) {
	rows, err := j.db.Query(`SELECT e.job_id, e.n, r.line FROM evidence e JOIN record r ON r.n = e.n
		WHERE e.statement IS NULL AND e.n > $1 AND e.n < $2 ORDER BY e.n LIMIT $3`, after, size, limit)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var ids []string
	var out []Unstated
	for rows.Next() {
		var id string
		var u Unstated
		if err := rows.Scan(&id, &u.N, &u.Line); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		ids, out = append(ids, id), append(out, u)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	for i, id := range ids {
		if out[i].Record, err = j.Job(id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ProveAct proves that an entry is among the first size of the record (RFC 6962, 2.1.1).
func (j *Journal) ProveAct(size, n int64) ([][]byte, error) {
	hashes, err := (audit.Log{Storage: recordRows{j.db}}).ProveEntry(size, n)
	if err != nil {
		return nil, recordFailed(err)
	}
	out := make([][]byte, len(hashes))
	for i, h := range hashes {
		out[i] = h[:]
	}
	return out, nil
}

// SaveStatement keeps the statement about a job, once.
func (j *Journal) SaveStatement(jobID string, der []byte) error {
	return j.transact(crashpoint.JournalStatement, func(tx *sql.Tx) error {
		res, err := tx.Exec("UPDATE evidence SET statement = $2 WHERE job_id = $1 AND statement IS NULL", jobID, der)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return errors.Join(err, fmt.Errorf("job %s wants no statement", jobID))
		}
		return nil
	})
}

// Statement is the statement about the last finished job for a unit, and that job's
// id; nil while there is none, empty when none is made of a job of before there were any,
// and "" when no job for the unit was finished.
func (j *Journal) Statement(unitID string) (jobID string, der []byte, err error) {
	err = j.db.QueryRow(`SELECT e.job_id, e.statement FROM evidence e JOIN job ON job.id = e.job_id
		WHERE job.unit_id = $1 ORDER BY e.n DESC LIMIT 1`, unitID).Scan(&jobID, &der)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return jobID, der, nil
}
