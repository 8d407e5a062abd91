package provision

import "fmt"

// State is where a job stands.
type State string

// States. The last three are final.
const (
	StateQueued      State = "queued"
	StateRunning     State = "running"
	StateParked      State = "parked"
	StateFinished    State = "finished"
	StateFailed      State = "failed"      // nothing was written: the token is as blank as before
	StateQuarantined State = "quarantined" // the token was written and must not be shipped or reused before a person decides
)

// Final reports whether the state is never left.
func (s State) Final() bool {
	return s == StateFinished || s == StateFailed || s == StateQuarantined
}

// Waiting is what a parked job waits for.
type Waiting string

// What a parked job may wait for.
const (
	WaitingNothing Waiting = ""
	WaitingNetwork Waiting = "network" // the central server
	WaitingToken   Waiting = "token"   // the token put back, or its module to answer
	WaitingLease   Waiting = "lease"   // the unit leased to this station again
	WaitingPerson  Waiting = "person"  // the cause put right by a person
)

// Event is what moves a job from one state to another.
type Event string

// Events.
const (
	EventStart   Event = "start"   // work begins, or goes on
	EventPark    Event = "park"    // work waits
	EventFinish  Event = "finish"  // every step is done
	EventFail    Event = "fail"    // given up, the token untouched
	EventIsolate Event = "isolate" // given up, the token written
)

// Advance is the one place where a job's state changes. An event that the table
// does not know for a state is an error, and a final state is never left.
func Advance(from State, event Event) (State, error) {
	type row struct {
		from  State
		event Event
	}
	table := map[row]State{
		{StateQueued, EventStart}:    StateRunning,
		{StateQueued, EventPark}:     StateParked,
		{StateQueued, EventFail}:     StateFailed,
		{StateRunning, EventStart}:   StateRunning, // after a crash
		{StateRunning, EventPark}:    StateParked,
		{StateRunning, EventFinish}:  StateFinished,
		{StateRunning, EventFail}:    StateFailed,
		{StateRunning, EventIsolate}: StateQuarantined,
		{StateParked, EventStart}:    StateRunning,
		{StateParked, EventPark}:     StateParked,
		{StateParked, EventFail}:     StateFailed,
		{StateParked, EventIsolate}:  StateQuarantined,
	}
	to, ok := table[row{from, event}]
	if !ok {
		return "", fmt.Errorf("a job that is %q knows no event %q", from, event)
	}
	return to, nil
}
