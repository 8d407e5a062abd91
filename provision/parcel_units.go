package provision

import (
	"database/sql"
	"errors"

	"github.com/usbkeyd/usbkeyd/internal/packing"
)

// What the journal knows of orders, units and tokens, for the packing table.

// meaning looks a code up; open is the order of the parcel that is open.
func (t Table) meaning(db reader, code, open string) (m packing.Meaning, err error) {
	if err := db.QueryRow("SELECT EXISTS (SELECT 1 FROM job WHERE json_extract(job, '$.Subject.OrderID') = $1)", code).Scan(&m.Order); err != nil {
		return m, err
	}
	if err := t.tokens(db, code, &m); err != nil {
		return m, err
	}
	err = db.QueryRow(`SELECT o.code FROM parcel_act w JOIN parcel_act c ON c.parcel = w.parcel AND c.kind = $3 JOIN parcel_act o ON o.n = w.parcel
		WHERE w.kind = $4 AND w.code = $1 AND o.code <> $2 AND NOT EXISTS (SELECT 1 FROM parcel_act u WHERE u.undoes = w.n) LIMIT 1`,
		code, open, string(packing.Closed), string(packing.Waybill)).Scan(&m.Parcel)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return m, err
}

// tokens finds whose token a serial is. What counts in each module is the last job that had
// the token; one that has no serial of its own is known by its slot, and each is another.
func (t Table) tokens(db reader, serial string, m *packing.Meaning) error {
	if serial == "" {
		return nil
	}
	found, err := jobsIn(db, "token_serial = $1", serial)
	if err != nil {
		return err
	}
	type place struct{ module, slot string }
	last := map[place]*Record{}
	for _, r := range found {
		last[place{r.Token.Module, r.Token.Identity.SlotDescription}] = r
	}
	for _, r := range found {
		if last[place{r.Token.Module, r.Token.Identity.SlotDescription}] != r {
			continue
		}
		units, err := t.units(db, r.Job.Subject.OrderID)
		if err != nil {
			return err
		}
		m.Tried = true
		for _, u := range units {
			if u.Job == r.Job.ID && u.Standing != packing.GivenUp {
				m.Units = append(m.Units, u)
			}
		}
	}
	return nil
}

// units are all units of an order; none when this station has had none of it.
func (t Table) units(db reader, order string) ([]packing.Unit, error) {
	found, err := jobsIn(db, "json_extract(job, '$.Subject.OrderID') = $1", order)
	if err != nil {
		return nil, err
	}
	var known []packing.Unit
	for _, r := range found {
		u := packing.Unit{
			ID: r.Job.UnitID(), Order: order, Sequence: r.Job.Subject.Sequence, Of: r.Job.Subject.Of,
			Job: r.Job.ID, Token: string(r.Token.Identity.Serial),
		}
		for _, l := range r.Facts.Letters {
			if l.ConfirmedBy != "" {
				u.SawPIN = append(u.SawPIN, l.ConfirmedBy)
			}
		}
		if u.Standing, err = t.standing(db, r); err != nil {
			return nil, err
		}
		known = append(known, u)
	}
	return packing.Whole(order, known), nil
}

// standing is how far a unit is whose last job this is.
func (t Table) standing(db reader, r *Record) (packing.Standing, error) {
	switch {
	case !r.State.Final():
		return packing.Working, nil
	case r.State != StateFinished:
		return packing.GivenUp, nil
	}
	told, answer, err := lastReport(db, r.Job.ID, ReportShipment)
	if err != nil || told && !refused(answer) {
		return packing.Packed, err
	}
	_, answer, err = lastReport(db, r.Job.ID, ReportResult)
	if err != nil {
		return "", err
	}
	switch {
	case answer == "":
		return packing.Unreported, nil
	case answer != installedAnswer:
		return packing.NotTaken, nil
	case r.Token.Identity.Serial == "" || r.Token.Identity.SlotDescription != "":
		return packing.Nameless, nil
	}
	n, err := endOnRecord(db, r.Job.ID)
	if err != nil {
		return "", err
	}
	if n < 0 || n >= t.Anchored {
		return packing.Unanchored, nil
	}
	if sure, err := labelStuck(db, r.Job.ID); err != nil || !sure {
		return packing.Unlabelled, err
	}
	return packing.Ready, nil
}

// endOnRecord is the place of a finished job's end in the record, -1 when it is not there.
func endOnRecord(db reader, job string) (n int64, err error) {
	err = db.QueryRow("SELECT n FROM evidence WHERE job_id = $1", job).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return -1, nil
	}
	return n, err
}
