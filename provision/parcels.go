package provision

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/packing"
)

// Table is the packing table. What it decides it decides by package packing, in the
// transaction in which it is written down, recorded and, when a parcel is closed, put
// into the outbox: two who pack at once cannot pass each other, and a crash leaves
// either nothing or all of it.
type Table struct {
	Journal *Journal
	Grammar packing.Grammar
	Verify  packing.Policy
	// Anchored is how many entries of the record the central server has signed.
	Anchored int64
	Now      func() time.Time
}

// Scan takes whatever the scanner read. Like all that follow, it returns the table as it is
// then, and a *packing.Refusal when nothing was done.
func (t Table) Scan(code, by string) (packing.Desk, packing.Act, error) {
	return t.act(crashpoint.JournalIntent, by, code, func(d packing.Desk, m packing.Meaning) (packing.Act, error) { return d.Scan(code, m, by) })
}

// Open begins the parcel of an order.
func (t Table) Open(order, by string) (packing.Desk, packing.Act, error) {
	return t.act(crashpoint.JournalIntent, by, order, func(d packing.Desk, m packing.Meaning) (packing.Act, error) { return d.Open(order, m) })
}

// EnterWaybill takes the number of the carrier's paper.
func (t Table) EnterWaybill(code, by string) (packing.Desk, packing.Act, error) {
	return t.act(crashpoint.JournalIntent, by, code, func(d packing.Desk, m packing.Meaning) (packing.Act, error) { return d.EnterWaybill(code, m) })
}

// LeaveOut says that a unit of which there is no key here is not in this parcel.
func (t Table) LeaveOut(unit, by string) (packing.Desk, packing.Act, error) {
	return t.act(crashpoint.JournalIntent, by, "", func(d packing.Desk, _ packing.Meaning) (packing.Act, error) { return d.LeaveOut(unit) })
}

// Verified notes that a key was inserted and has shown itself.
func (t Table) Verified(k packing.Key, by string) (packing.Desk, packing.Act, error) {
	return t.act(crashpoint.JournalIntent, by, "", func(d packing.Desk, _ packing.Meaning) (packing.Act, error) { return d.Verified(k) })
}

// Undo takes the last act back, or the last one that code names.
func (t Table) Undo(code, by string) (packing.Desk, packing.Act, error) {
	return t.act(crashpoint.JournalIntent, by, "", func(d packing.Desk, _ packing.Meaning) (packing.Act, error) { return d.Undo(code) })
}

// Close closes the parcel, and has the central server told of each of its units.
func (t Table) Close(by string) (packing.Desk, packing.Act, error) {
	return t.act(crashpoint.JournalEnd, by, "", func(d packing.Desk, _ packing.Meaning) (packing.Act, error) { return d.Close(by) })
}

// Desk is the table now.
func (t Table) Desk() (packing.Desk, error) {
	d, err := t.desk(t.Journal.db)
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return d, nil
}

// Order is all units of an order, as far as this station knows them; none of one that it
// does not know.
func (t Table) Order(id string) ([]packing.Unit, error) {
	units, err := t.units(t.Journal.db, id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return units, nil
}

// Token is what a token's serial means here.
func (t Table) Token(serial string) (packing.Meaning, error) {
	var m packing.Meaning
	if err := t.tokens(t.Journal.db, serial, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return m, nil
}

func (t Table) act(label crashpoint.Label, by, code string, decide func(packing.Desk, packing.Meaning) (packing.Act, error)) (d packing.Desk, a packing.Act, err error) {
	var refused *packing.Refusal
	write := func(tx *sql.Tx) error {
		refused = nil
		if d, err = t.desk(tx); err != nil {
			return err
		}
		var m packing.Meaning
		if code != "" {
			if m, err = t.meaning(tx, code, d.Parcel.Order); err != nil {
				return err
			}
		}
		if a, err = decide(d, m); err != nil {
			errors.As(err, &refused)
			return err
		}
		a.By, a.At = by, t.Now()
		before := d.Parcel
		if a, err = addAct(tx, a, before.N); err != nil {
			return err
		}
		if d, err = t.desk(tx); err != nil {
			return err
		}
		return t.follows(tx, before, a)
	}
	if err := t.Journal.transact(label, write); refused != nil {
		return d, packing.Act{}, refused
	} else if err != nil {
		return d, packing.Act{}, err
	}
	return d, a, nil
}

// follows records an act, and reports a parcel that it closed.
func (t Table) follows(tx *sql.Tx, p packing.Parcel, a packing.Act) error {
	if a.Kind == packing.Closed {
		for _, k := range p.Keys {
			rec, err := scanRecord(tx.QueryRow("SELECT "+recordColumns+" FROM job WHERE id = $1", k.Job))
			if err != nil {
				return err
			}
			act := parcelAct(about(rec, audit.KindPacked), p.Order, a)
			name(act, "waybill", p.Waybill)
			report := &Report{
				JobID: k.Job, Kind: ReportShipment, UnitID: rec.Job.UnitID(), Generation: rec.Job.Generation, Epoch: rec.Epoch,
				Waybill: p.Waybill, Scans: p.Tokens(), PackedBy: a.By,
			}
			if err := errors.Join(witness(tx, act), tell(tx, report, a.At)); err != nil {
				return err
			}
		}
		return nil
	}
	if a.Job == "" {
		act := audit.Entry{Kind: audit.KindParcel, Code: string(a.Kind), Unit: a.Unit, IDs: map[string]string{}, Hashes: map[string]string{}}
		order := p.Order
		if a.Kind == packing.Opened {
			order = a.Code
		} else if a.Code != order {
			name(act, "waybill", a.Code)
		}
		return witness(tx, parcelAct(act, order, a))
	}
	rec, err := scanRecord(tx.QueryRow("SELECT "+recordColumns+" FROM job WHERE id = $1", a.Job))
	if err != nil {
		return err
	}
	act := about(rec, audit.KindScanned)
	if a.Kind != packing.Scanned {
		act.Code = string(a.Kind)
	}
	return witness(tx, parcelAct(act, p.Order, a))
}

// parcelAct adds what every act of the table has.
func parcelAct(act audit.Entry, order string, a packing.Act) audit.Entry {
	name(act, "order", order)
	name(act, "parcel", fmt.Sprint(a.Parcel))
	return actedBy(act, a.By)
}

// actedBy adds who did it.
func actedBy(act audit.Entry, by string) audit.Entry {
	if audit.IsID(by) {
		act.IDs["by"] = by
	} else {
		hash(act, "by", []byte(by))
	}
	return act
}

func addAct(tx *sql.Tx, a packing.Act, parcel int64) (packing.Act, error) {
	if err := tx.QueryRow("SELECT 1 + COALESCE(MAX(n), 0) FROM parcel_act").Scan(&a.N); err != nil {
		return a, err
	}
	if a.Parcel = parcel; a.Kind == packing.Opened {
		a.Parcel = a.N
	}
	_, err := tx.Exec("INSERT INTO parcel_act (n, parcel, kind, unit_id, job_id, code, undoes, by_whom, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		a.N, a.Parcel, string(a.Kind), a.Unit, a.Job, a.Code, a.Undoes, a.By, a.At.UnixMilli())
	return a, err
}

// desk is the table with the parcel that is open: the last one, if any, for another is
// opened only when that is closed or dropped.
func (t Table) desk(db reader) (packing.Desk, error) {
	d := packing.Desk{Grammar: t.Grammar, Verify: t.Verify}
	parcels, err := parcelsIn(db, "parcel = (SELECT parcel FROM parcel_act ORDER BY n DESC LIMIT 1)")
	if err != nil || len(parcels) == 0 || !parcels[0].Open() {
		return d, err
	}
	d.Parcel = parcels[0]
	d.Units, err = t.units(db, d.Parcel.Order)
	return d, err
}

// parcelsIn are the parcels of the acts that a condition selects, oldest first.
func parcelsIn(db reader, where string, args ...any) ([]packing.Parcel, error) {
	found, err := actsIn(db, where, args...)
	if err != nil {
		return nil, err
	}
	var acts [][]packing.Act
	for _, a := range found {
		if n := len(acts); n == 0 || acts[n-1][0].Parcel != a.Parcel {
			acts = append(acts, nil)
		}
		acts[len(acts)-1] = append(acts[len(acts)-1], a)
	}
	out := make([]packing.Parcel, len(acts))
	for i := range acts {
		out[i] = packing.Replay(acts[i])
	}
	return out, nil
}

// actsIn are acts at the packing table, parcel by parcel, in order.
func actsIn(db reader, where string, args ...any) ([]packing.Act, error) {
	rows, err := db.Query("SELECT n, parcel, kind, unit_id, job_id, code, undoes, by_whom, at FROM parcel_act WHERE "+where+" ORDER BY parcel, n", args...) // #nosec G202 -- conditions are written here, values are parameters
	if err != nil {
		return nil, err
	}
	var out []packing.Act
	for rows.Next() {
		var a packing.Act
		var at int64
		if err := rows.Scan(&a.N, &a.Parcel, &a.Kind, &a.Unit, &a.Job, &a.Code, &a.Undoes, &a.By, &at); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		a.At = time.UnixMilli(at)
		out = append(out, a)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// refusedAnswer is how the answer to a report begins that the central server refuses for good.
const refusedAnswer = "refused: "

// Shipment is a parcel with what the central server has said of its units.
type Shipment struct {
	packing.Parcel
	// Answers are by unit: "" while there is none.
	Answers map[string]string
}

// Refused reports that a person has to look at the parcel.
func (s Shipment) Refused() bool {
	for _, a := range s.Answers {
		if looksWrong(a) {
			return true
		}
	}
	return false
}

// Refusals are what the central server has against the parcel, unit by unit.
func (s Shipment) Refusals() (out []string) {
	for _, unit := range slices.Sorted(maps.Keys(s.Answers)) {
		if a := s.Answers[unit]; looksWrong(a) {
			out = append(out, unit+": "+a)
		}
	}
	return out
}

// Left reports that the central server has taken every unit as shipped.
func (s Shipment) Left() bool {
	n := 0
	for _, a := range s.Answers {
		if a == shippedAnswer {
			n++
		}
	}
	return n > 0 && n == len(s.Keys)
}

// looksWrong reports that the central server has answered a shipment with something else
// than that the unit has left.
func looksWrong(answer string) bool { return answer != "" && answer != shippedAnswer }

// shippedAnswer is the server's answer to the report of a unit that it took as shipped.
const shippedAnswer = "SHIPPED"

// Shipments are all parcels but dropped ones, oldest first.
func (j *Journal) Shipments() ([]Shipment, error) { return j.shipments("1 = 1") }

// ShipmentsSince are those that were closed since then.
func (j *Journal) ShipmentsSince(t time.Time) ([]Shipment, error) {
	return j.shipments("parcel IN (SELECT parcel FROM parcel_act WHERE kind = $1 AND at >= $2)", string(packing.Closed), t.UnixMilli())
}

func (j *Journal) shipments(where string, args ...any) ([]Shipment, error) {
	parcels, err := parcelsIn(j.db, where, args...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var out []Shipment
	for _, p := range parcels {
		if p.Dropped() {
			continue
		}
		s := Shipment{Parcel: p, Answers: map[string]string{}}
		for _, k := range p.Keys {
			if p.Open() {
				break
			}
			if s.Answers[k.Unit], err = j.shipmentAnswer(k.Job, p); err != nil {
				return nil, err
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// shipmentAnswer is what was answered to the report that a parcel made about a job, which
// may have been in an earlier parcel that was refused.
func (j *Journal) shipmentAnswer(job string, p packing.Parcel) (string, error) {
	var answer sql.NullString
	err := j.db.QueryRow(`SELECT answer FROM report WHERE job_id = $1 AND json_extract(body, '$.Kind') = $2 AND made_at = $3 ORDER BY id DESC LIMIT 1`,
		job, string(ReportShipment), p.ClosedAt.UnixMilli()).Scan(&answer)
	if err != nil {
		return "", fmt.Errorf("%w: report of parcel %d: %w", ErrJournal, p.N, err)
	}
	return answer.String, nil
}

func refused(answer string) bool { return strings.HasPrefix(answer, refusedAnswer) }
