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
	Shipped      State = "SHIPPED"       // the parcel is with the courier
	Held         State = "HELD"          // a person must decide, see the reason
	Stranded     State = "STRANDED"      // bound, and custody ran out; keeps where it was
	Cancelling   State = "CANCELLING"    // waits until nothing is left of it: certificate revoked, token wiped
	Cancelled    State = "CANCELLED"     // over
)

// stateBefore stands in the table for where a stranded unit was.
const stateBefore State = "the state before"

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
	EventAdopt          Event = "adopt"        // a station proved that it has the key
	EventGiveUp         Event = "give-up"      // two persons gave a stranded unit up
	EventReissue        Event = "reissue"      // the next generation begins
	EventShip           Event = "ship"         // handed to the courier
	EventReturn         Event = "return"       // the parcel came back
	EventCancel         Event = "cancel"       // by a person, or dropped by a revision
	EventRevoked        Event = "revoked"      // a certificate of it is known to be revoked
	EventAcknowledged   Event = "acknowledged" // the station's last word on a cancelled unit
	EventCancelled      Event = "cancelled"    // nothing is left of it
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
	case pair{Stranded, EventRefused}, pair{Stranded, EventFailed}, pair{Stranded, EventGiveUp}:
		return Held, nil
	case pair{Stranded, EventInstalled}:
		return Installed, nil
	case pair{Stranded, EventAdopt}:
		return stateBefore, nil
	// A station may also have lost its epoch alone.
	case pair{Bound, EventAdopt}, pair{Issuing, EventAdopt}, pair{IssueUnknown, EventAdopt}, pair{Issued, EventAdopt}:
		return from, nil

	case pair{Installed, EventShip}:
		return Shipped, nil
	case pair{Shipped, EventReturn}:
		return Held, nil

	// What the CA did is kept whatever became of the unit meanwhile.
	case pair{Held, EventIssued}, pair{Held, EventAbsent}, pair{Held, EventRevoked}:
		return Held, nil
	case pair{Held, EventReissue}:
		return Ready, nil

	case pair{Ready, EventCancel}, pair{Leased, EventCancel}:
		return Cancelled, nil
	case pair{Bound, EventCancel}, pair{Issuing, EventCancel}, pair{IssueUnknown, EventCancel}, pair{Issued, EventCancel},
		pair{Installed, EventCancel}, pair{Held, EventCancel}, pair{Stranded, EventCancel}:
		return Cancelling, nil
	case pair{Cancelling, EventIssued}, pair{Cancelling, EventAbsent}, pair{Cancelling, EventRevoked},
		pair{Cancelling, EventAcknowledged}, pair{Cancelling, EventCustodyExpired}:
		return Cancelling, nil
	case pair{Cancelling, EventCancelled}:
		return Cancelled, nil
	case pair{Cancelled, EventAcknowledged}:
		return Cancelled, nil
	}
	if !from.known() {
		return "", fmt.Errorf("unknown unit state %q", from)
	}
	return "", fmt.Errorf("a unit that is %s cannot take %q", from, e)
}

func (s State) known() bool {
	switch s {
	case Ready, Leased, Bound, Issuing, IssueUnknown, Issued, Installed, Shipped, Held, Stranded, Cancelling, Cancelled:
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

// Over says that nobody is to do anything more for the unit.
func (s State) Over() bool { return s == Cancelling || s == Cancelled }
