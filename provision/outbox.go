package provision

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// The outbox is the journal's table of reports: they enter it with the job's last
// state and leave it only when the central server has answered.

// PendingReports returns up to max reports that were not answered yet, oldest first.
// A report whose checksum does not fit is an error that names it, never skipped.
func (j *Journal) PendingReports(max int) ([]Report, error) {
	return j.PendingReportsBetween(0, math.MaxInt64, 0, max)
}

// PendingReportsBetween is PendingReports for those that came after the one of an id and no
// later than that of another, but for those whose unit has one waiting that came no later than
// held: that one goes first.
func (j *Journal) PendingReportsBetween(after, last, held int64, max int) ([]Report, error) {
	rows, err := j.db.Query(`SELECT id, body, sha256 FROM report r WHERE sent_at IS NULL AND id > $1 AND id <= $2
		AND NOT EXISTS (SELECT 1 FROM report e WHERE e.sent_at IS NULL AND e.id <= $3 AND e.id < r.id AND e.body ->> '$.UnitID' = r.body ->> '$.UnitID')
		ORDER BY id LIMIT $4`, after, last, held, max)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var out []Report
	for rows.Next() {
		var id int64
		var body []byte
		var sum string
		if err := rows.Scan(&id, &body, &sum); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		var r Report
		if sha256hex(body) != sum || json.Unmarshal(body, &r) != nil {
			return nil, errors.Join(fmt.Errorf("%w: report %d in the outbox is damaged", ErrJournal, id), rows.Close())
		}
		r.ID = id
		out = append(out, r)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// CountPendingReports returns how many reports wait for an answer.
func (j *Journal) CountPendingReports() (int, error) {
	var n int
	if err := j.db.QueryRow("SELECT COUNT(*) FROM report WHERE sent_at IS NULL").Scan(&n); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return n, nil
}

// ReportSent takes a report out of the outbox with the central server's answer, and
// records what acts that was.
func (j *Journal) ReportSent(id int64, answer string, acts ...audit.Entry) error {
	return j.transact(crashpoint.OutboxSent, func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE report SET sent_at = $1, answer = $2 WHERE id = $3 AND sent_at IS NULL", time.Now().UnixMilli(), answer, id)
		return errors.Join(err, witness(tx, acts...))
	})
}

// installedAnswer is the server's answer to the report of a unit that it took as installed.
const installedAnswer = "INSTALLED"

// Answer is what the central server answered to a job's last report of a kind; "" when
// there is none, or no answer yet.
func (j *Journal) Answer(jobID string, kind ReportKind) (string, error) {
	_, answer, err := lastReport(j.db, jobID, kind)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return answer, nil
}

// lastReport says whether there is a report of a kind about a job, and what the last one
// was answered, "" for nothing yet.
func lastReport(db reader, jobID string, kind ReportKind) (there bool, answer string, err error) {
	var said sql.NullString
	err = db.QueryRow("SELECT answer FROM report WHERE job_id = $1 AND json_extract(body, '$.Kind') = $2 ORDER BY id DESC LIMIT 1", jobID, string(kind)).Scan(&said)
	if errors.Is(err, sql.ErrNoRows) {
		return false, "", nil
	}
	return err == nil, said.String, err
}
