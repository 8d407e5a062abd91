package store

import "fmt"

// State is where a unit is in its life.
type State string

// States.
const (
	Ready        State = "READY"         // may be claimed
	Leased       State = "LEASED"        // at a station, no key bound yet
	Bound        State = "BOUND"         // a public key is bound to this generation
	Issuing      State = "ISSUING"       // the intent is written; the CA is or may have been asked
	IssueUnknown State = "ISSUE_UNKNOWN" // the CA's answer was lost; it must be asked, never blindly told again
	Issued       State = "ISSUED"        // the certificate is here
	Installed    State = "INSTALLED"     // the station has proved it on the token
	Held         State = "HELD"          // a person must decide, see the reason
	Stranded     State = "STRANDED"      // bound, and custody ran out; keeps where it was
)

// Event is what happens to a unit.
type Event string

// Events.
const (
	EventClaim          Event = "claim"
	EventRelease        Event = "release"
	EventLeaseExpired   Event = "lease-expired"
	EventHold           Event = "hold"
	EventBind           Event = "bind"
	EventIntend         Event = "intend"
	EventIssued         Event = "issued"
	EventRefused        Event = "refused"
	EventUnknown        Event = "unknown"
	EventAbsent         Event = "absent"
	EventPending        Event = "pending"
	EventInstalled      Event = "installed"
	EventFailed         Event = "failed"
	EventCustodyExpired Event = "custody-expired"
)

// next is the transition table: the only place that says where an event leads. A
// pair that is not in it is an error, and so is a state that it does not know.
func next(from State, e Event) (State, error) {
	type pair struct {
		from  State
		event Event
	}
	switch (pair{from, e}) {
	case pair{Ready, EventClaim}:
		return Leased, nil
	case pair{Leased, EventRelease}, pair{Leased, EventLeaseExpired}:
		return Ready, nil
	case pair{Leased, EventHold}:
		return Held, nil
	case pair{Leased, EventBind}:
		return Bound, nil
	case pair{Bound, EventIntend}:
		return Issuing, nil
	case pair{Issuing, EventUnknown}:
		return IssueUnknown, nil
	case pair{IssueUnknown, EventAbsent}, pair{IssueUnknown, EventPending}, pair{Issuing, EventPending}:
		return Issuing, nil
	case pair{Issuing, EventIssued}, pair{IssueUnknown, EventIssued}:
		return Issued, nil
	case pair{Issuing, EventRefused}:
		return Held, nil
	case pair{Issued, EventInstalled}:
		return Installed, nil
	case pair{Bound, EventFailed}, pair{Issuing, EventFailed}, pair{IssueUnknown, EventFailed}, pair{Issued, EventFailed}:
		return Held, nil
	case pair{Bound, EventCustodyExpired}, pair{Issuing, EventCustodyExpired},
		pair{IssueUnknown, EventCustodyExpired}, pair{Issued, EventCustodyExpired}:
		return Stranded, nil
	// A stranded unit goes on inside (see advance), and a late result is a fact.
	case pair{Stranded, EventIssued}, pair{Stranded, EventUnknown}, pair{Stranded, EventAbsent}, pair{Stranded, EventPending}:
		return Stranded, nil
	case pair{Stranded, EventRefused}, pair{Stranded, EventFailed}:
		return Held, nil
	case pair{Stranded, EventInstalled}:
		return Installed, nil
	}
	if !from.known() {
		return "", fmt.Errorf("unknown unit state %q", from)
	}
	return "", fmt.Errorf("a unit that is %s cannot take %q", from, e)
}

func (s State) known() bool {
	switch s {
	case Ready, Leased, Bound, Issuing, IssueUnknown, Issued, Installed, Held, Stranded:
		return true
	}
	return false
}

// InCustody says that a private key for this unit exists on one token, so that
// the unit cannot go back to READY by itself.
func (s State) InCustody() bool {
	switch s {
	case Bound, Issuing, IssueUnknown, Issued:
		return true
	}
	return false
}
