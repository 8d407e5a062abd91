package provision

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/packing"
)

// What the journal tells whoever looks something up: each is a search by index, so that it
// costs the same after years.

// FoundBy says which number of a key a code is.
type FoundBy string

// Numbers of a key.
const (
	ByOrder       FoundBy = "order"
	ByUnit        FoundBy = "unit"
	ByJob         FoundBy = "job"
	ByToken       FoundBy = "token"
	ByCasing      FoundBy = "casing"
	ByCertificate FoundBy = "certificate"
	ByWaybill     FoundBy = "waybill"
)

// Match is a job, and the number by which it was found.
type Match struct {
	By FoundBy
	*Record
}

// leastBeginning is how long a code must be, in characters, for others that begin with it
// to be found.
const leastBeginning = 4

// way is one way to look for a code: $1 is the code; in begins, $2 is after all that begin with it.
type way struct {
	by            FoundBy
	exact, begins string
}

func ways() []way {
	number := func(by FoundBy, expression string) way {
		return way{by, expression + " = $1", expression + " >= $1 AND " + expression + " < $2"}
	}
	cased := `id IN (SELECT held.id FROM stock s JOIN job held ON json_extract(held.facts, '$.DeliveredAs') = +s.token_serial WHERE `
	sent := `id IN (SELECT k.job_id FROM parcel_act w JOIN parcel_act k ON k.parcel = w.parcel AND k.kind = 'scanned'
		WHERE w.kind = 'waybill' AND NOT EXISTS (SELECT 1 FROM parcel_act u WHERE u.parcel = w.parcel AND u.undoes IN (w.n, k.n)) AND `
	return []way{
		number(ByOrder, `json_extract(job, '$.Subject.OrderID')`),
		{ByUnit, `id >= $1 || '-g' AND id < $1 || '-h'`, `id >= $1 AND id < $2`},
		{ByJob, `id = $1`, `id >= $1 AND id < $2`},
		number(ByToken, `token_serial`),
		number(ByToken, `json_extract(facts, '$.DeliveredAs')`),
		{ByCasing, cased + `s.casing_number = $1)`, cased + `s.casing_number >= $1 AND s.casing_number < $2)`},
		number(ByCertificate, `json_extract(facts, '$.CertificateSerial')`),
		{ByWaybill, sent + `w.code = $1)`, sent + `w.code >= $1 AND w.code < $2)`},
	}
}

// Find finds the jobs that a code names, whatever its case, oldest first of each kind of
// number: an order, a unit, a job, a token's serial or casing number, a certificate's serial
// or a waybill. Where there is none it finds those with a number that begins with it. Of
// more than limit there are limit+1.
func (j *Journal) Find(code string, limit int) ([]Match, error) {
	bare := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(code)) // as certificates' serials are kept
	spellings := []string{code}
	for _, s := range []string{strings.ToLower(code), strings.ToUpper(code), bare} {
		if !slices.Contains(spellings, s) && s != "" {
			spellings = append(spellings, s)
		}
	}
	found, err := j.find(spellings, limit, func(w way, code string) (string, []any) { return w.exact, []any{code} })
	if err != nil || len(found) > 0 || utf8.RuneCountInString(code) < leastBeginning {
		return found, err
	}
	return j.find(spellings, limit, func(w way, code string) (string, []any) {
		return w.begins, []any{code, code + string(utf8.MaxRune)}
	})
}

func (j *Journal) find(codes []string, limit int, condition func(way, string) (string, []any)) ([]Match, error) {
	var out []Match
	seen := map[string]bool{}
	for _, w := range ways() {
		for _, code := range codes {
			where, args := condition(w, code)
			found, err := j.jobs(fmt.Sprintf("rowid IN (SELECT rowid FROM job WHERE %s LIMIT %d)", where, limit+1), args...)
			if err != nil {
				return nil, err
			}
			for _, r := range found {
				if !seen[r.Job.ID] && len(out) <= limit {
					seen[r.Job.ID] = true
					out = append(out, Match{w.by, r})
				}
			}
		}
	}
	return out, nil
}

// DeliveredAs returns the delivered tokens that have a serial or casing number.
func (j *Journal) DeliveredAs(number string) ([]StockToken, error) {
	bySerial, err := j.stock("s.token_serial = $1", number)
	if err != nil {
		return nil, err
	}
	byCasing, err := j.stock("s.casing_number = $1", number)
	return append(bySerial, slices.DeleteFunc(byCasing, func(t StockToken) bool { return t.Serial == number })...), err
}

// Order returns the jobs of an order, oldest first.
func (j *Journal) Order(id string) ([]*Record, error) {
	return j.jobs("json_extract(job, '$.Subject.OrderID') = $1", id)
}

// PackingOf returns what was done at the packing table to parcels of an order, parcel by
// parcel, in order.
func (j *Journal) PackingOf(order string) ([]packing.Act, error) {
	acts, err := actsIn(j.db, "parcel IN (SELECT n FROM parcel_act WHERE code = $1 AND kind = $2)", order, string(packing.Opened))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return acts, nil
}

// OnRecord is the place of a finished job's end in the record; -1 when it is not there.
func (j *Journal) OnRecord(jobID string) (int64, error) {
	n, err := endOnRecord(j.db, jobID)
	if err != nil {
		return -1, recordFailed(err)
	}
	return n, nil
}

// End is how and when a job came to its end.
type End struct {
	JobID, Module string
	State         State
	At            time.Time
	// Busy is the time spent working on the token.
	Busy time.Duration
}

const final = "('finished', 'failed', 'quarantined')"

// endedQuery takes two times in Unix milliseconds.
const endedQuery = `SELECT job.id, job.module, e.state, e.at, job.busy_ms FROM entry e JOIN job ON job.id = e.job_id
	WHERE e.state IN ` + final + ` AND e.at >= $1 AND e.at < $2
		AND NOT EXISTS (SELECT 1 FROM entry before WHERE before.job_id = e.job_id AND before.seq < e.seq AND before.state IN ` + final + `)
	ORDER BY e.at, e.seq`

// Ended returns the jobs that came to their end from one moment on and before another, in
// that order. What was noted of a job afterwards does not count.
func (j *Journal) Ended(from, to time.Time) ([]End, error) {
	rows, err := j.db.Query(endedQuery, from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var out []End
	for rows.Next() {
		var e End
		var at, busy int64
		if err := rows.Scan(&e.JobID, &e.Module, &e.State, &at, &busy); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		e.At, e.Busy = time.UnixMilli(at), time.Duration(busy)*time.Millisecond
		out = append(out, e)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

const unsentQuery = `SELECT count(*) FROM job WHERE state = 'finished' AND json_extract(facts, '$.SOPINBox') IS NOT NULL
	AND NOT EXISTS (SELECT 1 FROM report WHERE report.job_id = job.id AND json_extract(report.body, '$.Kind') = $1 AND report.answer = $2)`

// CountUnsent is how many finished tokens the central server has not taken as shipped. Those
// whose PINs are gone have left.
func (j *Journal) CountUnsent() (n int, err error) {
	err = j.db.QueryRow(unsentQuery, string(ReportShipment), shippedAnswer).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return n, nil
}

// Certificate is the user's certificate of a job once it was compared with what was ordered;
// nil before, and once the job was compacted.
func (r *Record) Certificate() (*x509.Certificate, error) {
	if r.Facts.CertificateSHA256 == "" || r.Facts.Compacted {
		return nil, nil
	}
	all, err := csr.ParseBundle(r.Facts.Bundle)
	if err != nil {
		return nil, fmt.Errorf("%w: job %s: %w", ErrJournal, r.Job.ID, err)
	}
	for _, c := range all {
		if sha256hex(c.Raw) == r.Facts.CertificateSHA256 {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w: job %s: its certificate is not among those that were collected", ErrJournal, r.Job.ID)
}

// Telling is a report that the central server has answered.
type Telling struct {
	Kind   ReportKind
	At     time.Time
	Answer string
}

// Told returns the answered reports of a job, in order.
func (j *Journal) Told(jobID string) ([]Telling, error) {
	rows, err := j.db.Query("SELECT json_extract(body, '$.Kind'), sent_at, COALESCE(answer, '') FROM report WHERE job_id = $1 AND sent_at IS NOT NULL ORDER BY id", jobID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var out []Telling
	for rows.Next() {
		var t Telling
		var at int64
		if err := rows.Scan(&t.Kind, &at, &t.Answer); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		t.At = time.UnixMilli(at)
		out = append(out, t)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}
