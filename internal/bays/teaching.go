package bays

import "slices"

// Seen is a slot as it is now.
type Seen struct {
	Slot string
	// Present says that a token is there, Known that it is of a model that is written here.
	Present, Known bool
	// Port is where the token came, "" for not known.
	Port string
}

// Fault is what was wrong with the last token that was put in.
type Fault string

// Faults.
const (
	FaultNone    Fault = ""
	FaultModel   Fault = "model"   // no token profile fits it
	FaultTwice   Fault = "twice"   // that bay has a number already
	FaultSeveral Fault = "several" // several came at once
)

// Faults are all of them but FaultNone.
func Faults() []Fault { return []Fault{FaultModel, FaultTwice, FaultSeveral} }

// Teaching goes on while somebody puts a token into one bay after another, from number 1.
// Tokens may stay where they are, or one is moved along.
type Teaching struct {
	taught Map
	// before are the slots that had a token when the present number was asked for.
	before []string
	fault  Fault
	at     int // which bay, of FaultTwice
}

// Begin begins a teaching, where these slots are.
func Begin(now []Seen) *Teaching { return &Teaching{before: present(now)} }

func present(now []Seen) []string {
	var out []string
	for _, s := range now {
		if s.Present {
			out = append(out, s.Slot)
		}
	}
	return out
}

// See looks at the slots, and reports whether something has changed: a token that has come
// is in the bay that was asked for.
func (t *Teaching) See(now []Seen) bool {
	var came []Seen
	for _, s := range now {
		if s.Present && !slices.Contains(t.before, s.Slot) {
			came = append(came, s)
		}
	}
	t.before = present(now)
	if len(came) == 0 {
		return false
	}
	t.fault, t.at = FaultNone, 0
	switch bay := (Bay{came[0].Slot, came[0].Port}); {
	case len(came) > 1:
		t.fault = FaultSeveral
	case !came[0].Known:
		t.fault = FaultModel
	case t.taught.holds(bay) > 0:
		t.fault, t.at = FaultTwice, t.taught.holds(bay)
	case len(t.taught) < most:
		t.taught = append(t.taught, bay)
	}
	return true
}

// Next is the number of the bay into which a token is wanted.
func (t *Teaching) Next() int { return len(t.taught) + 1 }

// Fault is what was wrong with the last token, and the number that its bay has already.
func (t *Teaching) Fault() (Fault, int) { return t.fault, t.at }

// Skip leaves a number out: nothing can be put in there.
func (t *Teaching) Skip() {
	if t.fault = FaultNone; len(t.taught) < most {
		t.taught = append(t.taught, Bay{})
	}
}

// Undo takes the last number back. Its token is to be taken out and put in again.
func (t *Teaching) Undo() {
	if t.fault = FaultNone; len(t.taught) > 0 {
		t.taught = t.taught[:len(t.taught)-1]
	}
}

// Again begins anew.
func (t *Teaching) Again() { t.taught, t.fault = nil, FaultNone }

// Taught is what was taught so far. Numbers that were left out at the end count for nothing.
func (t *Teaching) Taught() Map {
	out := slices.Clone(t.taught)
	for len(out) > 0 && out[len(out)-1] == (Bay{}) {
		out = out[:len(out)-1]
	}
	return out
}

// SoFar is what was asked for so far, with the numbers that were left out.
func (t *Teaching) SoFar() Map { return slices.Clone(t.taught) }
