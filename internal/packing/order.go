package packing

import (
	"fmt"
	"slices"
)

// Standing is how far one unit of an order is, as this station knows it.
type Standing string

// Standings.
const (
	Elsewhere  Standing = "elsewhere"  // this station has never had it
	Working    Standing = "working"    // its key is not finished
	GivenUp    Standing = "given-up"   // the last try at this station ended without a key
	Unreported Standing = "unreported" // the central server has not answered the report yet
	NotTaken   Standing = "not-taken"  // it answered otherwise than that the certificate is installed
	Unanchored Standing = "unanchored" // the end of its making is not on record at the server yet
	Nameless   Standing = "nameless"   // its serial does not tell the token from others
	Unlabelled Standing = "unlabelled" // its label is not known to be on it
	Ready      Standing = "ready"      // may be packed
	Packed     Standing = "packed"     // is in a closed parcel that the server has not refused
)

// Standings are all of them, in this order.
func Standings() []Standing {
	return []Standing{Elsewhere, Working, GivenUp, Unreported, NotTaken, Unanchored, Unlabelled, Nameless, Ready, Packed}
}

// Unit is one unit of an order, with the last job that this station had for it.
type Unit struct {
	ID       string   `json:"unitId"`
	Order    string   `json:"orderId"`
	Sequence int      `json:"sequence"`
	Of       int      `json:"of"`
	Standing Standing `json:"standing"`
	// Job and Token are of that last job; "" where there was none.
	Job   string `json:"jobId,omitempty"`
	Token string `json:"tokenSerial,omitempty"`
	// SawPIN are those who confirmed a letter with the token's PIN.
	SawPIN []string `json:"-"`
}

// UnitID is the id of an order's n-th unit, as the contract makes it.
func UnitID(order string, n int) string { return fmt.Sprintf("%s-%03d", order, n) }

// MayBeLeftOut reports whether a parcel may be closed without the unit, if a person says so.
func (u Unit) MayBeLeftOut() bool { return u.Standing == Elsewhere || u.Standing == GivenUp }

// Whole fills the units up that a station does not know of: an order has as many as its
// newest lease said. Of a unit that is known twice the later counts. Units come in the order of
// their numbers.
func Whole(order string, known []Unit) []Unit {
	of := 0
	for _, u := range known {
		of = max(of, u.Of, u.Sequence)
	}
	out := make([]Unit, of)
	for i := range out {
		out[i] = Unit{ID: UnitID(order, i+1), Order: order, Sequence: i + 1, Of: of, Standing: Elsewhere}
	}
	for _, u := range known {
		u.Of = of
		out[u.Sequence-1] = u
	}
	return out
}

// says is why a unit cannot be in a parcel, or is missing in it.
func (u Unit) says() Sentence {
	what := map[Standing]string{
		Elsewhere:  "was never at this station, which does not know where it is; look at the central server, and leave it out if it is made elsewhere or cancelled",
		Working:    "is not finished yet",
		GivenUp:    "has no finished key here; see usbkeyd jobs list",
		Unreported: "is finished, but the central server has not answered its report yet",
		NotTaken:   "was not taken as installed by the central server: put it aside and ask there",
		Unanchored: "is finished, but its record is not at the central server yet; wait a moment",
		Nameless:   "is on a token whose serial does not tell it from others; it cannot be packed by scanning",
		Unlabelled: "has no label that was scanned when it was stuck on; see usbkeyd labels list",
		Ready:      "is not scanned yet",
		Packed:     "is in a closed parcel already",
	}[u.Standing]
	return Say("Key %d of %d (%s) %s", u.Sequence, u.Of, u.ID, Say(what))
}

func find(units []Unit, id string) (Unit, bool) {
	i := slices.IndexFunc(units, func(u Unit) bool { return u.ID == id })
	if i < 0 {
		return Unit{}, false
	}
	return units[i], true
}

// Reason classes refusals, for whoever has to react to one, or puts it into other words.
type Reason string

// Reasons.
const (
	NoCode      Reason = "no-code"      // not a whole code of any kind
	Unknown     Reason = "unknown"      // a code that this station does not know
	Unclear     Reason = "unclear"      // a code that means two things
	NothingOpen Reason = "nothing-open" // there is no parcel open
	StillOpen   Reason = "still-open"   // another parcel is
	WrongKey    Reason = "wrong-key"    // a key of another order
	Twice       Reason = "twice"        // was scanned or entered before
	NotReady    Reason = "not-ready"    // the key may not leave yet, or never
	SamePerson  Reason = "same-person"  // who saw the PIN packs the key
	Missing     Reason = "missing"      // something comes first
	NotThere    Reason = "not-there"    // nothing that could be undone
)

// Stops reports whether what was refused may be the wrong key in somebody's hand, so that
// it has to be put aside before anything else is scanned.
func (r Reason) Stops() bool {
	return r == Unknown || r == Unclear || r == WrongKey || r == NotReady || r == SamePerson
}

// Refusal says why something is not done. Its text is a sentence for the person who
// packs.
type Refusal struct {
	Reason Reason
	Says   Sentence
}

// Error implements error.
func (r *Refusal) Error() string { return r.Says.String() }

func refuse(why Reason, pattern string, args ...any) error {
	return &Refusal{Reason: why, Says: Say(pattern, args...)}
}
