package packing

import "slices"

// Policy says of which orders every key has to be verified by inserting it.
type Policy string

// Policies.
const (
	VerifySeveral Policy = "several" // of orders of more than one key
	VerifyAlways  Policy = "always"
	VerifyNever   Policy = "never"
)

// Desk is the packing table at one moment: at most one parcel is open on it.
type Desk struct {
	Grammar Grammar
	Verify  Policy
	// Parcel is the one that is open; the zero Parcel when there is none. Units are all of
	// its order, see Whole.
	Parcel Parcel
	Units  []Unit
}

// Meaning is what a code is to this station, as it was looked up.
type Meaning struct {
	// Order reports that it is the id of an order of which there are units here.
	Order bool
	// Units are those whose token has this serial, other orders' too.
	Units []Unit
	// Tried reports that a token of this serial was here, and holds no unit's key now.
	Tried bool
	// Parcel is the order of a closed parcel with this waybill, which may not be the one
	// that is open now; "" for none.
	Parcel string
}

// Scan decides what follows from a code that was scanned. Every error is a *Refusal.
func (d Desk) Scan(code string, m Meaning, by string) (Act, error) {
	if err := d.Grammar.legible(code); err != nil {
		return Act{}, err
	}
	token := len(m.Units) > 0 || m.Tried
	switch {
	case m.Order && token:
		return Act{}, refuse(Unclear, "%s is an order's number and a token's serial as well. Use usbkeyd pack open for the order; the key cannot be packed by scanning.", code)
	case m.Order:
		return d.Open(code, m)
	case token:
		return d.scanKey(code, m, by)
	case d.Grammar.IsWaybill(code):
		return d.EnterWaybill(code, m)
	}
	return Act{}, refuse(Unknown, "%s is no order, no token and no waybill that this station knows. If it is on a key, that key was not made here: put it aside.", code)
}

// Open begins a parcel.
func (d Desk) Open(order string, m Meaning) (Act, error) {
	switch {
	case d.Parcel.Open() && d.Parcel.Order == order:
		return Act{}, refuse(Twice, "The parcel of order %s is open already: scan its keys.", order)
	case d.Parcel.Open():
		return Act{}, refuse(StillOpen, "The parcel of order %s is still open. Close it, or undo what was done to it, before %s.", d.Parcel.Order, order)
	case !orderID().MatchString(order):
		return Act{}, refuse(NoCode, "This is no order number: %q.", clip(order))
	case !m.Order:
		return Act{}, refuse(Unknown, "This station has no key of an order %s.", order)
	}
	return Act{Kind: Opened, Code: order}, nil
}

// opened is the refusal of everything that wants an open parcel.
func (d Desk) opened() error {
	if !d.Parcel.Open() {
		return refuse(NothingOpen, "No parcel is open: scan the order first.")
	}
	return nil
}

func (d Desk) scanKey(code string, m Meaning, by string) (Act, error) {
	if len(m.Units) == 0 {
		return Act{}, refuse(NotReady, "The token %s was here, and holds no finished key: put it aside.", code)
	}
	if len(m.Units) > 1 {
		return Act{}, refuse(Unclear, "%d keys of this station have the token serial %s, so a scan does not tell which one this is: put it aside.", len(m.Units), code)
	}
	u := m.Units[0]
	if err := d.opened(); err != nil {
		return Act{}, err
	}
	if u.Order != d.Parcel.Order {
		return Act{}, refuse(WrongKey, "Wrong key: %s belongs to order %s (key %d of %d), not to %s. Put it back with its own order.", code, u.Order, u.Sequence, u.Of, d.Parcel.Order)
	}
	if k, ok := d.Parcel.key(u.ID); ok {
		return Act{}, refuse(Twice, "Key %d of %d (%s) is in the parcel already; %s scanned it.", u.Sequence, u.Of, code, k.By)
	}
	if slices.Contains(d.Parcel.LeftOut, u.ID) {
		return Act{}, refuse(NotReady, "Key %d of %d (%s) was left out of this parcel: undo that first.", u.Sequence, u.Of, u.ID)
	}
	if err := fit(u, by); err != nil {
		return Act{}, err
	}
	return Act{Kind: Scanned, Unit: u.ID, Job: u.Job, Code: code}, nil
}

// fit says whether a unit's key may leave, packed by this person.
func fit(u Unit, by string) error {
	switch {
	case u.Standing != Ready:
		return refuse(NotReady, "%s.", u.says())
	case slices.Contains(u.SawPIN, by):
		return refuse(SamePerson, "%s has had the PIN letter of key %d of %d (%s) in the hand; somebody else must pack it.", by, u.Sequence, u.Of, u.ID)
	}
	return nil
}

// EnterWaybill decides about a waybill, which comes when every key is in the parcel: until
// then whatever looks like one may be the serial of a key from elsewhere.
func (d Desk) EnterWaybill(code string, m Meaning) (Act, error) {
	switch {
	case !d.Grammar.IsWaybill(code):
		return Act{}, refuse(NoCode, "This is no waybill number of a carrier that this station knows: %q. Scan the waybill; the forms are in packing.waybills.", clip(code))
	case m.Order || len(m.Units) > 0 || m.Tried:
		return Act{}, refuse(Unclear, "%s is an order or a token of this station, and so cannot be a waybill.", code)
	}
	if err := d.opened(); err != nil {
		return Act{}, err
	}
	if missing := d.missing(); len(missing) > 0 {
		return Act{}, refuse(Missing, "The waybill comes last. %s", join(missing))
	}
	switch {
	case d.Parcel.Waybill == code:
		return Act{}, refuse(Twice, "The waybill %s is entered already.", code)
	case d.Parcel.Waybill != "":
		return Act{}, refuse(Twice, "The parcel has the waybill %s already: undo that first.", d.Parcel.Waybill)
	case m.Parcel != "" && m.Parcel != d.Parcel.Order:
		return Act{}, refuse(WrongKey, "The waybill %s is that of the parcel of order %s.", code, m.Parcel)
	}
	return Act{Kind: Waybill, Code: code}, nil
}

// LeaveOut decides about a unit that is not to be in the parcel, because this station has
// no key of it: one that is made elsewhere, or was cancelled. A key that is here, or is
// being made here, is never left out.
func (d Desk) LeaveOut(unit string) (Act, error) {
	if err := d.opened(); err != nil {
		return Act{}, err
	}
	u, ok := find(d.Units, unit)
	switch {
	case !ok:
		return Act{}, refuse(Unknown, "%s is no unit of order %s.", clip(unit), d.Parcel.Order)
	case slices.Contains(d.Parcel.LeftOut, unit):
		return Act{}, refuse(Twice, "Key %d of %d (%s) is left out already.", u.Sequence, u.Of, unit)
	case !u.MayBeLeftOut():
		return Act{}, refuse(NotReady, "%s, so it cannot be left out.", u.says())
	}
	return Act{Kind: LeftOut, Unit: unit}, nil
}

// ToVerify is the key that is to be inserted: the one with this serial, or the one that was
// scanned last.
func (d Desk) ToVerify(code string) (Key, error) {
	if err := d.opened(); err != nil {
		return Key{}, err
	}
	for _, k := range slices.Backward(d.Parcel.Keys) {
		if k.Token == code || code == "" && !k.Verified {
			return k, nil
		}
	}
	if code == "" {
		return Key{}, refuse(NotThere, "No key is scanned that was not verified.")
	}
	return Key{}, refuse(NotThere, "%q is not in the parcel of order %s: scan its label first.", clip(code), d.Parcel.Order)
}

// Verified is the act that a key was inserted and has shown itself. The key is one of ToVerify,
// and may have been taken out since.
func (d Desk) Verified(k Key) (Act, error) {
	if now, ok := d.Parcel.key(k.Unit); !d.Parcel.Open() || !ok || now.Job != k.Job {
		return Act{}, refuse(NotThere, "The token %s is not in the open parcel any more.", k.Token)
	}
	return Act{Kind: Verified, Unit: k.Unit, Job: k.Job, Code: k.Token}, nil
}

// Undo decides what is taken back: the last act, or the last one with this token serial,
// unit or waybill. Undoing the opening drops the parcel.
func (d Desk) Undo(code string) (Act, error) {
	if err := d.opened(); err != nil {
		return Act{}, err
	}
	for _, a := range slices.Backward(d.Parcel.standing) {
		named := code == "" || a.Code == code || a.Unit == code && code != ""
		switch {
		case a.Kind == Verified || !named:
		case a.Kind == Opened && d.inside() > 0:
			return Act{}, refuse(Missing, "The parcel of order %s is not empty: undo what is in it first.", d.Parcel.Order)
		case a.Kind == Opened && code != "" && code != d.Parcel.Order:
		default:
			return Act{Kind: Undone, Undoes: a.N, Unit: a.Unit, Job: a.Job, Code: a.Code}, nil
		}
	}
	return Act{}, refuse(NotThere, "%q is nothing that was done to the parcel of order %s.", clip(code), d.Parcel.Order)
}

func (d Desk) inside() int {
	n := len(d.Parcel.Keys) + len(d.Parcel.LeftOut)
	if d.Parcel.Waybill != "" {
		n++
	}
	return n
}

// missing says which units are neither in the parcel nor accounted for.
func (d Desk) missing() (out []Sentence) {
	for _, u := range d.Units {
		_, scanned := d.Parcel.key(u.ID)
		if !scanned && u.Standing != Packed && !slices.Contains(d.Parcel.LeftOut, u.ID) {
			out = append(out, u.says())
		}
	}
	if len(out) == 0 && len(d.Parcel.Keys) == 0 {
		out = append(out, Say("There is no key of order %s left to be packed", d.Parcel.Order))
	}
	return out
}

// Left says what is still to be done before the parcel may be closed, a sentence each;
// nothing when it may.
func (d Desk) Left() []Sentence {
	out := d.missing()
	for _, k := range d.Parcel.Keys {
		if u, ok := find(d.Units, k.Unit); ok && !k.Verified && d.WantsInsertion() {
			out = append(out, Say("Key %d of %d (%s) is not verified: insert it", u.Sequence, u.Of, k.Token))
		}
	}
	if d.Parcel.Waybill == "" {
		out = append(out, Say("The waybill is not entered"))
	}
	return out
}

// WantsInsertion reports whether each key has to be put in again.
func (d Desk) WantsInsertion() bool {
	return d.Verify == VerifyAlways || d.Verify != VerifyNever && len(d.Units) > 1
}

// Close decides whether the parcel may be closed. Every key is looked at once more: a unit
// may have been withdrawn, or its letter seen by who packs, since it was scanned.
func (d Desk) Close(by string) (Act, error) {
	if err := d.opened(); err != nil {
		return Act{}, err
	}
	for _, k := range d.Parcel.Keys {
		u, ok := find(d.Units, k.Unit)
		if !ok || u.Job != k.Job {
			return Act{}, refuse(NotReady, "The key %s is not that of %s any more: undo its scan and put it aside.", k.Token, k.Unit)
		}
		for _, person := range []string{by, k.By} {
			if err := fit(u, person); err != nil {
				return Act{}, err
			}
		}
	}
	// Units of which a key has come since they were left out belong into the parcel.
	for _, id := range d.Parcel.LeftOut {
		if u, ok := find(d.Units, id); ok && !u.MayBeLeftOut() {
			return Act{}, refuse(NotReady, "%s. It was left out of this parcel: undo that.", u.says())
		}
	}
	if left := d.Left(); len(left) > 0 {
		return Act{}, refuse(Missing, "The parcel of order %s cannot be closed. %s", d.Parcel.Order, join(left))
	}
	return Act{Kind: Closed}, nil
}
