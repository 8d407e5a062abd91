package floor

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Books are what the journal, the stock and the record say, for the operator's page and for
// the command line alike. They only read.
type Books struct {
	journal *provision.Journal
	table   func(*provision.Journal) (provision.Table, error)
	now     func() time.Time
	// bay is the name of the bay at which a job was, "" where that is not known.
	bay func(job string) string
}

// MostFinds is how many finds are told.
const MostFinds = 50

// NewBooks are those of a journal; table makes the packing table over it.
func NewBooks(j *provision.Journal, table func(*provision.Journal) (provision.Table, error)) *Books {
	return &Books{journal: j, table: table, now: time.Now, bay: func(string) string { return "" }}
}

// Order implements console.Books.
func (b *Books) Order(id string) (*console.Order, error) {
	records, err := b.journal.Order(id)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	slices.SortStableFunc(records, func(x, y *provision.Record) int { return cmp.Compare(x.Job.Subject.Sequence, y.Job.Subject.Sequence) })
	packed, err := b.journal.PackingOf(id)
	if err != nil {
		return nil, err
	}
	table, err := b.table(b.journal)
	if err != nil {
		return nil, err
	}
	waybills := sentBy(packed)
	o := &console.Order{ID: id}
	sequence := map[string]int{}
	for n, r := range records {
		j := r.Job
		o.Company, o.Product, o.Urgent = j.Subject.Company.Name, j.Subject.ProductCode, o.Urgent || j.Urgent
		if o.Due.IsZero() || !j.DueAt.IsZero() && j.DueAt.Before(o.Due) {
			o.Due = j.DueAt
		}
		sequence[j.UnitID()] = j.Subject.Sequence
		acts, err := b.history(r)
		if err != nil {
			return nil, err
		}
		o.History = append(o.History, acts...)
		if n+1 < len(records) && records[n+1].Job.UnitID() == j.UnitID() {
			continue // a later job has the unit
		}
		u, err := b.unit(r, table.Anchored)
		if err != nil {
			return nil, err
		}
		u.Waybill = waybills[j.ID]
		o.Units = append(o.Units, u)
	}
	for _, a := range packed {
		act := console.Event{At: a.At, Unit: sequence[a.Unit], What: console.EventPacking, Step: string(a.Kind), By: a.By}
		if a.Kind == packing.Scanned || a.Kind == packing.Waybill {
			act.Text = a.Code
		}
		o.History = append(o.History, act)
	}
	o.Units = whole(id, o.Units)
	slices.SortStableFunc(o.History, func(x, y console.Event) int { return cmp.Or(y.At.Compare(x.At), cmp.Compare(y.Unit, x.Unit)) })
	return o, nil
}

// whole adds the units that this station has not had.
func whole(order string, known []console.Unit) []console.Unit {
	of := 0
	for _, u := range known {
		of = max(of, u.Of, u.Sequence)
	}
	out := make([]console.Unit, of)
	for i := range out {
		out[i] = console.Unit{ID: packing.UnitID(order, i+1), Sequence: i + 1, Of: of, State: "elsewhere", Record: -1}
	}
	for _, u := range known {
		u.Of = of
		out[u.Sequence-1] = u
	}
	return out
}

// sentBy are the waybills of closed parcels, by job.
func sentBy(acts []packing.Act) map[string]string {
	parcels := map[int64][]packing.Act{}
	for _, a := range acts {
		parcels[a.Parcel] = append(parcels[a.Parcel], a)
	}
	out := map[string]string{}
	for _, acts := range parcels {
		p := packing.Replay(acts)
		if p.Open() || p.Dropped() {
			continue
		}
		for _, k := range p.Keys {
			out[k.Job] = p.Waybill
		}
	}
	return out
}

// unit is a unit by its last job; the central server has signed so many entries of the record.
func (b *Books) unit(r *provision.Record, signed int64) (console.Unit, error) {
	s := r.Job.Subject
	u := console.Unit{
		ID: s.UnitID, Job: r.Job.ID, Sequence: s.Sequence, Of: s.Of, State: string(r.State), Step: string(r.Step), Waiting: string(r.Waiting),
		Hint: r.Hint, Reason: r.Reason, Token: string(r.Token.Identity.Serial), Record: -1,
	}
	var err error
	if u.Casing, err = b.casing(r); err != nil {
		return u, err
	}
	c, err := r.Certificate()
	if err != nil {
		return u, err
	}
	if c != nil {
		key := sha256.Sum256(r.Facts.PublicKey)
		u.Certificate = &console.Certificate{
			Serial: r.Facts.CertificateSerial, Subject: r.Facts.CertificateSubject, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
			SHA256: r.Facts.CertificateSHA256, Key: hex.EncodeToString(key[:]),
		}
	}
	if r.State == provision.StateFinished {
		u.Step = ""
		if u.Record, err = b.journal.OnRecord(r.Job.ID); err != nil {
			return u, err
		}
		u.Signed = u.Record >= 0 && u.Record < signed
	}
	return u, nil
}

// casing is the number on the casing of a job's token; "" where no list has it.
func (b *Books) casing(r *provision.Record) (string, error) {
	if r.Facts.DeliveredAs == "" {
		return "", nil
	}
	t, err := b.journal.StockToken(string(r.Facts.DeliveredAs))
	if err != nil || t == nil {
		return "", err
	}
	return t.Casing, nil
}

// history is what happened to a job. What was noted after its end is told by its letters and
// its reports.
func (b *Books) history(r *provision.Record) ([]console.Event, error) {
	entries, err := b.journal.History(r.Job.ID)
	if err != nil {
		return nil, err
	}
	var out []console.Event
	add := func(at time.Time, what, step, by, text string) {
		out = append(out, console.Event{At: at, Unit: r.Job.Subject.Sequence, What: what, Step: step, By: by, Text: text})
	}
	for _, e := range entries {
		switch {
		case e.State == provision.StateQueued:
			add(e.At, console.EventClaimed, "", "", "")
		case e.State == provision.StateRunning:
			add(e.At, console.EventStep, string(e.Step), "", "")
		case e.State == provision.StateParked:
			add(e.At, console.EventParked, string(e.Step), "", "")
		default:
			add(e.At, console.EventEnded, "", "", string(e.State))
		}
		if e.State.Final() {
			break
		}
	}
	for _, l := range r.Facts.Letters {
		if !l.At.IsZero() {
			add(l.At, console.EventPrinted, "", l.By, "")
		}
		if !l.ConfirmedAt.IsZero() {
			add(l.ConfirmedAt, console.EventConfirmed, "", l.ConfirmedBy, "")
		}
	}
	told, err := b.journal.Told(r.Job.ID)
	for _, t := range told {
		add(t.At, console.EventTold, string(t.Kind), "", t.Answer)
	}
	return out, err
}

// Find implements console.Books.
func (b *Books) Find(code string) (console.Finds, error) {
	out := console.Finds{Hits: []console.Hit{}}
	found, err := b.journal.Find(code, MostFinds)
	if err != nil {
		return out, err
	}
	if out.More = len(found) > MostFinds; out.More {
		found = found[:MostFinds]
	}
	waybills := map[string]map[string]string{} // by order and job
	shown := map[string]bool{}                 // token serials, as delivered
	for _, m := range found {
		s := m.Job.Subject
		if waybills[s.OrderID] == nil {
			packed, err := b.journal.PackingOf(s.OrderID)
			if err != nil {
				return out, err
			}
			waybills[s.OrderID] = sentBy(packed)
		}
		h := console.Hit{
			By: string(m.By), Order: s.OrderID, Unit: s.UnitID, Sequence: s.Sequence, Of: s.Of, Company: s.Company.Name, State: string(m.State),
			Token: string(m.Token.Identity.Serial), Certificate: m.Facts.CertificateSerial, Waybill: waybills[s.OrderID][m.Job.ID],
		}
		if h.Casing, err = b.casing(m.Record); err != nil {
			return out, err
		}
		shown[string(m.Facts.DeliveredAs)] = true
		out.Hits = append(out.Hits, h)
	}
	delivered, err := b.journal.DeliveredAs(code)
	if err != nil {
		return out, err
	}
	for _, t := range delivered {
		if shown[t.Serial] {
			continue
		}
		by := provision.ByCasing
		if t.Serial == code {
			by = provision.ByToken
		}
		out.Hits = append(out.Hits, console.Hit{By: string(by), State: string(t.State), Token: t.Serial, Casing: t.Casing})
	}
	slices.SortStableFunc(out.Hits, func(x, y console.Hit) int {
		return cmp.Or(cmp.Compare(x.Order, y.Order), cmp.Compare(x.Sequence, y.Sequence))
	})
	return out, nil
}

// Day implements console.Books.
func (b *Books) Day(from, to time.Time) (console.Day, error) {
	var d console.Day
	ends, err := b.journal.Ended(from, to)
	if err != nil {
		return d, err
	}
	for _, e := range ends {
		d.Ends = append(d.Ends, console.End{At: e.At, State: string(e.State), Bay: cmp.Or(b.bay(e.JobID), e.Module), Busy: e.Busy})
	}
	left, err := b.journal.Unfinished()
	if err != nil {
		return d, err
	}
	orders := map[string]bool{}
	for _, r := range left {
		d.Left.Units++
		orders[r.Job.Subject.OrderID] = true
		if r.Waiting == provision.WaitingPerson {
			d.Left.Waiting++
		}
		if !r.Job.DueAt.IsZero() && r.Job.DueAt.Before(b.now()) {
			d.Left.Late++
		}
	}
	d.Left.Orders = len(orders)
	if d.Left.Unsent, err = b.journal.CountUnsent(); err != nil {
		return d, err
	}
	d.Left.Reports, err = b.journal.CountPendingReports()
	return d, err
}
