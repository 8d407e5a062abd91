package provision

import (
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/packing"
)

// Unpacked is an order of which a key is still to be packed.
type Unpacked struct {
	Order, Company string
	Due            time.Time
	Units          []packing.Unit
}

// Ready reports that its parcel can be packed now: every key is there that this station is
// to have.
func (u Unpacked) Ready() bool {
	return !slices.ContainsFunc(u.Units, func(u packing.Unit) bool {
		return u.Standing != packing.Ready && u.Standing != packing.Packed && !u.MayBeLeftOut()
	})
}

// Unpacked are the orders with a key that is in no parcel, or is being made, those that are
// due first before the others.
func (t Table) Unpacked() ([]Unpacked, error) {
	found, err := jobsIn(t.Journal.db, `state IN ('queued', 'running', 'parked') OR state = 'finished' AND NOT EXISTS
		(SELECT 1 FROM report WHERE job_id = job.id AND json_extract(body, '$.Kind') = $1 AND (answer IS NULL OR answer NOT LIKE $2))`,
		string(ReportShipment), refusedAnswer+"%")
	if err != nil {
		return nil, err
	}
	var out []Unpacked
	seen := map[string]bool{}
	for _, r := range slices.Backward(found) {
		of := r.Job.Subject
		if seen[of.OrderID] {
			continue
		}
		seen[of.OrderID] = true
		units, err := t.units(t.Journal.db, of.OrderID)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJournal, err)
		}
		// A key whose unit was made anew is nobody's who packs.
		if slices.ContainsFunc(units, func(u packing.Unit) bool { return u.Standing != packing.Packed && !u.MayBeLeftOut() }) {
			out = append(out, Unpacked{of.OrderID, of.Company.Name, r.Job.DueAt, units})
		}
	}
	slices.SortStableFunc(out, func(a, b Unpacked) int { return a.Due.Compare(b.Due) })
	return out, nil
}

// packedBy are those who scanned a job's key for a parcel in which it is, or closed that.
func packedBy(db reader, job string) (people []string, err error) {
	rows, err := db.Query(`SELECT s.by_whom, COALESCE(c.by_whom, '') FROM parcel_act s LEFT JOIN parcel_act c ON c.parcel = s.parcel AND c.kind = $1
		WHERE s.kind = $2 AND s.job_id = $3 AND NOT EXISTS (SELECT 1 FROM parcel_act u WHERE u.undoes = s.n)`,
		string(packing.Closed), string(packing.Scanned), job)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // it is read to its end, or of no use
	for rows.Next() {
		var scanned, closed string
		if err := rows.Scan(&scanned, &closed); err != nil {
			return nil, err
		}
		people = append(people, scanned)
		if closed != "" {
			people = append(people, closed)
		}
	}
	return people, rows.Err()
}
