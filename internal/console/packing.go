package console

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// Packing is the packing table of the station. What may be done there and what follows, it
// decides; the page sends what was scanned and shows what was said. Its methods may wait for
// a disk, and their errors are the station's own.
type Packing interface {
	// Table is what is to be seen.
	Table() (Table, error)
	// Act does one of PackingActs for a person.
	Act(act PackingAct, code, by string) (Answer, error)
}

// PackingAct is what a person can do at the packing table.
type PackingAct string

// Acts, with what their code is.
const (
	ActScan     PackingAct = "scan"      // whatever the scanner has read
	ActVerify   PackingAct = "verify"    // a token serial: that key is to be put in and read
	ActLeaveOut PackingAct = "leave-out" // a unit
	ActUndo     PackingAct = "undo"      // a token serial, a unit or a waybill; "" for the last act
	ActClose    PackingAct = "close"     // nothing
	// actAcknowledge is the page's own: the wrong key is out of the hand.
	actAcknowledge PackingAct = "acknowledge"
)

// PackingActs are those that the table does.
func PackingActs() []PackingAct {
	return []PackingAct{ActScan, ActVerify, ActLeaveOut, ActUndo, ActClose}
}

// Table is what is on the packing table, and what is to come there.
type Table struct {
	// Shapes are regular expressions (ECMA-262), one of which a whole code fits.
	Shapes []string
	// Parcel is the one that is open, nil for none.
	Parcel *Parcel
	// Orders are those that still have a key to be packed, but for the parcel's.
	Orders []PackOrder
	// Closed are the parcels that the central server has not taken as shipped.
	Closed []Closed
}

// Parcel is the parcel that is open.
type Parcel struct {
	Order, Company, Waybill string
	Keys                    []PackKey
	// Left are what is still to be done before it may be closed.
	Left []Phrase
	// Insertion is the key that is waited for, or was last; nil for none.
	Insertion *Insertion
}

// PackKey is one unit of the parcel's order.
type PackKey struct {
	Unit, Token  string
	Sequence, Of int
	// Standing is one of the packing table's.
	Standing string
	// ScannedBy is who scanned it into this parcel, "" for nobody.
	ScannedBy string
	// Insert says that it has to be put in to be verified, and was not.
	Verified, Insert bool
	// LeftOut says that the parcel goes without it, MayBeLeftOut that it may.
	LeftOut, MayBeLeftOut bool
}

// Insertion is a key that is to be put in.
type Insertion struct {
	Token string
	// State is "asked", "wanted" once somebody looks for it, "read", or why it was not.
	State string
	// Says is the reason in the daemon's own words.
	Says string
	// Stops is Answer's.
	Stops bool
	Asked time.Time
}

// PackOrder is an order that has keys to be packed.
type PackOrder struct {
	Order, Company string
	Due            time.Time
	Ready          bool
	// Standings are how many units are how far, in the order of a unit's life.
	Standings []Standing
}

// Standing is how many units of an order are how far.
type Standing struct {
	Name  string
	Count int
}

// Closed is a parcel that was closed.
type Closed struct {
	Order, Waybill, By string
	At                 time.Time
	Keys               int
	// Refused is what the central server has against it, in its own words.
	Refused []string
}

// counter is what was said last at the packing table, to whoever looks at it.
type counter struct {
	mu sync.Mutex
	Answer
	by string
	at time.Time
	// tries counts what was scanned since it has stopped.
	tries int
	// acknowledged is the insertion whose stop was.
	acknowledged time.Time
}

// stopped reports whether an acknowledgement is waited for.
func (c *counter) stopped(t Table) bool {
	return c.Stops || t.Parcel != nil && t.Parcel.Insertion != nil && t.Parcel.Insertion.Stops && !t.Parcel.Insertion.Asked.Equal(c.acknowledged)
}

// pack does an act at the packing table. The answer is on every screen that shows the table.
func (c *Console) pack(w http.ResponseWriter, r *http.Request, s *session) {
	var asked struct {
		Act  PackingAct `json:"act"`
		Code string     `json:"code"`
	}
	if read(r, &asked) != nil || asked.Act != actAcknowledge && !slices.Contains(PackingActs(), asked.Act) {
		refuse(w, http.StatusBadRequest)
		return
	}
	c.sessions.touch(s)
	defer c.Changed()
	c.counter.mu.Lock()
	defer c.counter.mu.Unlock()
	table, err := c.Packing.Table()
	if err != nil {
		c.failed(w, "packing", err)
		return
	}
	if asked.Act == actAcknowledge {
		c.counter.Answer, c.counter.tries = Answer{}, 0
		if table.Parcel != nil && table.Parcel.Insertion != nil {
			c.counter.acknowledged = table.Parcel.Insertion.Asked
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if c.counter.stopped(table) {
		c.counter.tries++
		refuse(w, http.StatusConflict)
		return
	}
	answer, err := c.Packing.Act(asked.Act, asked.Code, s.person.ID)
	if err != nil {
		c.failed(w, "packing", err)
		return
	}
	c.counter.Answer, c.counter.by, c.counter.at, c.counter.tries = answer, s.person.ID, c.Now(), 0
	w.WriteHeader(http.StatusNoContent)
}

// failed is the answer to an act that the station itself could not do.
func (c *Console) failed(w http.ResponseWriter, what string, err error) {
	c.Log.Error("an act at the operator's page failed", "what", what, "error", err)
	refuse(w, http.StatusInternalServerError)
}

// packing is the screen of the packing table.
func (c *Console) packing(w *words, p Person) (frame, error) {
	f := c.begin(w, p, "packing")
	table, err := c.Packing.Table()
	if err != nil {
		return frame{}, err
	}
	may := p.may([]Role{RolePacker})
	c.counter.mu.Lock()
	said := map[string]any{"Said": nil, "Cause": c.counter.Cause, "Done": c.counter.Done, "By": c.counter.by, "At": c.counter.at}
	if c.counter.Said != nil {
		said["Said"] = w.phrase(c.counter.Said)
	}
	stopped, tries := c.counter.stopped(table), c.counter.tries
	byHand := c.counter.Stops
	c.counter.mu.Unlock()
	if stopped {
		said["Tries"], said["May"], said["Insertion"] = tries, may, (*Insertion)(nil)
		if !byHand {
			said["Insertion"] = table.Parcel.Insertion
		}
		f.add("stop", "stop", said)
	} else {
		f.add("said", "said", said)
	}
	f.add("scanner", "scanner", map[string]any{"Shapes": table.Shapes, "May": may, "Open": table.Parcel != nil})
	if table.Parcel != nil {
		f.add("parcel", "parcel", map[string]any{"Parcel": table.Parcel, "May": may, "Ready": len(table.Parcel.Left) == 0})
	}
	f.add("unpacked", "unpacked", map[string]any{"Orders": table.Orders, "Now": c.Now(), "Open": table.Parcel != nil})
	if len(table.Closed) > 0 {
		f.add("closed", "closed", map[string]any{"Closed": table.Closed})
	}
	return f.frame, f.err
}
