package floor

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/provision"
)

// How long a key is waited for that is to be put in, and how old what is shown may be.
const (
	insertionPatience = 2 * time.Minute
	tableAge          = 500 * time.Millisecond
	// closedShown is how long a parcel is shown that the central server has not taken.
	closedShown = 14 * 24 * time.Hour
)

// packer is the packing table as the operator's page has it, over the daemon's journal. The
// command line may pack beside it.
type packer struct {
	journal *provision.Journal
	table   func(*provision.Journal) (provision.Table, error)
	now     func() time.Time

	mu    sync.Mutex
	shown console.Table
	at    time.Time // of shown
}

// Act implements console.Packing.
func (p *packer) Act(act console.PackingAct, code, by string) (console.Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = time.Time{}
	t, err := p.table(p.journal)
	if err != nil {
		return console.Answer{}, err
	}
	said, err := p.act(t, act, code, by)
	var refusal *packing.Refusal
	switch {
	case errors.As(err, &refusal):
		return console.Answer{Said: refusal.Says, Stops: refusal.Reason.Stops() && act == console.ActScan}, nil
	case err != nil:
		return console.Answer{}, err
	}
	return console.Answer{Said: said, Done: true}, nil
}

func (p *packer) act(t provision.Table, act console.PackingAct, code, by string) (console.Phrase, error) {
	var d packing.Desk
	var a packing.Act
	var err error
	switch act {
	case console.ActScan:
		if d, a, err = t.Scan(code, by); err == nil && a.Kind == packing.Scanned && d.WantsInsertion() {
			_, err = p.await(t, d, a.Code, by) // it is in the hand
		}
	case console.ActVerify:
		if d, err = t.Desk(); err != nil {
			return nil, err
		}
		return p.await(t, d, code, by)
	case console.ActLeaveOut:
		d, a, err = t.LeaveOut(code, by)
	case console.ActUndo:
		d, a, err = t.Undo(code, by)
	case console.ActClose:
		d, a, err = t.Close(by)
	}
	if err != nil {
		return nil, err
	}
	return d.Done(a), nil
}

// await has the key with this serial put in and read, by whoever has the tokens.
func (p *packer) await(t provision.Table, d packing.Desk, code, by string) (console.Phrase, error) {
	k, err := d.ToVerify(code)
	if err != nil {
		return nil, err
	}
	if _, err := t.AskInsertion(k, by, insertionPatience); err != nil {
		return nil, err
	}
	return console.Say("The key %s is waited for.", k.Token), nil
}

// Table implements console.Packing.
func (p *packer) Table() (console.Table, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := p.now().Sub(p.at); age >= 0 && age < tableAge {
		return p.shown, nil
	}
	t, err := p.table(p.journal)
	if err != nil {
		return console.Table{}, err
	}
	table, err := tableOf(t, p.now())
	if err == nil {
		p.shown, p.at = table, p.now()
	}
	return table, err
}

// tableOf is what is to be seen of the table.
func tableOf(t provision.Table, now time.Time) (console.Table, error) {
	out := console.Table{Shapes: packing.Shapes()}
	d, err := t.Desk()
	if err != nil {
		return out, err
	}
	insertion, err := t.Journal.Insertion()
	if err != nil {
		return out, err
	}
	orders, err := t.Unpacked()
	if err != nil {
		return out, err
	}
	if d.Parcel.Open() {
		out.Parcel = openParcel(d)
		out.Parcel.Insertion = waitedFor(d, insertion, now)
	}
	for _, o := range orders {
		if d.Parcel.Open() && o.Order == d.Parcel.Order {
			out.Parcel.Company = o.Company
			continue
		}
		row := console.PackOrder{Order: o.Order, Company: o.Company, Due: o.Due, Ready: o.Ready()}
		for _, s := range packing.Standings() {
			n := len(slices.DeleteFunc(slices.Clone(o.Units), func(u packing.Unit) bool { return u.Standing != s }))
			if n > 0 {
				row.Standings = append(row.Standings, console.Standing{Name: string(s), Count: n})
			}
		}
		out.Orders = append(out.Orders, row)
	}
	return out, closedParcels(t, &out, now)
}

func openParcel(d packing.Desk) *console.Parcel {
	out := &console.Parcel{Order: d.Parcel.Order, Waybill: d.Parcel.Waybill}
	for _, u := range d.Units {
		row := console.PackKey{
			Unit: u.ID, Token: u.Token, Sequence: u.Sequence, Of: u.Of, Standing: string(u.Standing),
			LeftOut: slices.Contains(d.Parcel.LeftOut, u.ID), MayBeLeftOut: u.MayBeLeftOut(),
		}
		for _, k := range d.Parcel.Keys {
			if k.Unit == u.ID {
				row.Token, row.ScannedBy, row.Verified, row.Insert = k.Token, k.By, k.Verified, !k.Verified && d.WantsInsertion()
			}
		}
		out.Keys = append(out.Keys, row)
	}
	for _, s := range d.Left() {
		out.Left = append(out.Left, s)
	}
	return out
}

// waitedFor is the key that is waited for or was last, if it is still to be verified.
func waitedFor(d packing.Desk, i *provision.Insertion, now time.Time) *console.Insertion {
	if i == nil || !slices.ContainsFunc(d.Parcel.Keys, func(k packing.Key) bool {
		return k.Job == i.Key.Job && (!k.Verified || i.Reason == provision.InsertionRead)
	}) {
		return nil
	}
	out := &console.Insertion{Token: i.Key.Token, State: i.Reason, Says: i.Says, Asked: i.Asked}
	switch {
	case i.Reason != "":
		out.Stops = packing.Reason(i.Reason).Stops() || i.Reason == provision.InsertionFailed
	case i.Overdue(now):
		out.State = provision.InsertionLate
	case i.Says == "":
		out.State = "asked"
	default:
		out.State = "wanted"
	}
	return out
}

// closedParcels are those that somebody may have to look at, what is refused first.
func closedParcels(t provision.Table, out *console.Table, now time.Time) error {
	shipments, err := t.Journal.ShipmentsSince(now.Add(-closedShown))
	if err != nil {
		return err
	}
	for _, p := range shipments {
		if p.Left() {
			continue
		}
		row := console.Closed{Order: p.Order, Waybill: p.Waybill, By: p.ClosedBy, At: p.ClosedAt, Keys: len(p.Keys), Refused: p.Refusals()}
		out.Closed = append(out.Closed, row)
	}
	slices.SortStableFunc(out.Closed, func(a, b console.Closed) int { return min(len(b.Refused), 1) - min(len(a.Refused), 1) })
	return nil
}
