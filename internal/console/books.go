package console

import (
	"net/http"
	"time"
)

// Books are what the station has written down. Each call may read a disk: a screen asks
// them once a second at most. The command line prints the same, as JSON too.
type Books interface {
	// Order is all that is known of an order; nil where this station has had no unit of it.
	Order(id string) (*Order, error)
	// Find finds what has a number, printed or scanned.
	Find(code string) (Finds, error)
	// Day is what was done from one moment on and before another, and what is left now.
	Day(from, to time.Time) (Day, error)
}

// Order is an order as far as it was at this station.
type Order struct {
	ID      string    `json:"orderId"`
	Company string    `json:"company"`
	Product string    `json:"productCode"`
	Due     time.Time `json:"dueAt,omitzero"`
	Urgent  bool      `json:"urgent"`
	// Units are all of it, in order; those that are not here have no job.
	Units []Unit `json:"units"`
	// History is the newest first.
	History []Event `json:"history"`
}

// Done is how many of its units are finished here.
func (o Order) Done() (n int) {
	for _, u := range o.Units {
		if u.State == "finished" {
			n++
		}
	}
	return n
}

// Unit is one key of an order, by its last job here.
type Unit struct {
	ID       string `json:"unitId"`
	Job      string `json:"jobId,omitempty"`
	Sequence int    `json:"sequence"`
	Of       int    `json:"of"`
	// State is the job's: queued, running, parked, finished, failed or quarantined; or
	// elsewhere for a unit that this station has not had.
	State string `json:"state"`
	// Step is the step that it is at, Waiting what it waits for where it is parked.
	Step    string `json:"step,omitempty"`
	Waiting string `json:"waiting,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Token   string `json:"tokenSerial,omitempty"`
	// Casing is the number on the token's casing, where its supplier's list has it.
	Casing      string       `json:"casingNumber,omitempty"`
	Certificate *Certificate `json:"certificate,omitempty"`
	// Waybill is that of the closed parcel that it is in.
	Waybill string `json:"waybill,omitempty"`
	// Record is the place of its end in the station's record, from 0; -1 for none yet.
	// Signed says that the central server has signed the record up to there.
	Record int64 `json:"record"`
	Signed bool  `json:"recordSigned"`
}

// Certificate is a user's certificate. Digests are SHA-256, in hexadecimal.
type Certificate struct {
	Serial    string    `json:"certificateSerial"`
	Subject   string    `json:"subject"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	SHA256    string    `json:"certificateSha256"`
	Key       string    `json:"publicKeySha256"`
}

// What an event is.
const (
	EventClaimed   = "claimed"
	EventStep      = "step"   // Step says which
	EventParked    = "parked" // at Step
	EventEnded     = "ended"  // as Text, a final state
	EventTold      = "told"   // the central server answered Text to a report about Step
	EventPrinted   = "printed"
	EventConfirmed = "confirmed"
	EventPacking   = "packing" // Step is what was done
)

// Event is one thing that happened to an order.
type Event struct {
	At time.Time `json:"at"`
	// Unit is the unit's number in the order, 0 for the whole of it.
	Unit int    `json:"sequence,omitempty"`
	What string `json:"what"`
	Step string `json:"step,omitempty"`
	// By is the account of who did it; "" for the station.
	By   string `json:"by,omitempty"`
	Text string `json:"text,omitempty"`
}

// Finds are what was found.
type Finds struct {
	Hits []Hit `json:"hits"`
	// More says that there are others, which are left out.
	More bool `json:"more"`
}

// Hit is a unit or a delivered token with a number that was looked for.
type Hit struct {
	// By says which number: order, unit, job, token, casing, certificate or waybill.
	By       string `json:"by"`
	Order    string `json:"orderId,omitempty"`
	Unit     string `json:"unitId,omitempty"`
	Sequence int    `json:"sequence,omitempty"`
	Of       int    `json:"of,omitempty"`
	Company  string `json:"company,omitempty"`
	// State is as in Unit; blank, at-work, written, quarantined or refused for a delivered
	// token that no unit's job was found with.
	State       string `json:"state"`
	Token       string `json:"tokenSerial,omitempty"`
	Casing      string `json:"casingNumber,omitempty"`
	Certificate string `json:"certificateSerial,omitempty"`
	Waybill     string `json:"waybill,omitempty"`
}

// Day is what was done in some time.
type Day struct {
	Ends []End
	Left Left
}

// End is how a job ended.
type End struct {
	At time.Time
	// State is finished, failed or quarantined.
	State string
	Bay   string
	// Busy is the time spent working on the token.
	Busy time.Duration
}

// Left is what is left for the next shift.
type Left struct {
	// Units are not finished, Waiting of them for a person, Late past their due time; they
	// are of so many orders.
	Units   int `json:"units"`
	Waiting int `json:"waitingForAPerson"`
	Late    int `json:"late"`
	Orders  int `json:"orders"`
	// Unsent are finished, and the central server has not taken them as shipped.
	Unsent int `json:"unsent"`
	// Reports have not been taken by the central server.
	Reports int `json:"reports"`
}

// rest is the time between two looks at the books for one screen.
const rest = time.Second

// of is live for a screen that reads the books, which is made of what is asked for in the path.
func (c *Console) of(look func(asked string) screen) handler {
	return func(w http.ResponseWriter, r *http.Request, s *session) {
		c.live(seldom(look(r.PathValue("asked"))))(w, r, s)
	}
}

// seldom is a screen that stays the same for a rest, for one stream.
func seldom(look screen) screen {
	var made frame
	var at time.Time
	return func(w *words, p Person) (frame, error) {
		if !at.IsZero() && time.Since(at) < rest {
			return made, nil
		}
		f, err := look(w, p)
		if err == nil {
			made, at = f, time.Now()
		}
		return f, err
	}
}
