//go:build !race

package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// wake starts what was off for its time.
func (w *world) wake() {
	for _, s := range w.stations {
		if s.life == nil && !time.Now().Before(s.down) {
			w.event("%s starts", s.name)
			s.start()
		}
	}
	for _, n := range w.nodes {
		if n.server == nil && !time.Now().Before(n.down) {
			w.event("%s starts", n.name)
			n.start()
		}
	}
}

// any chooses one.
func anyOf[T any](w *world, all []T) T { return all[w.rng.IntN(len(all))] }

// minutes is a time, mostly short, now and then longer than custody.
func (w *world) minutes() time.Duration {
	most := 2 * time.Minute
	switch n := w.rng.IntN(20); {
	case n == 0:
		most = 2 * custody
	case n < 5:
		most = 10 * time.Minute
	}
	return time.Duration(w.rng.Int64N(int64(most)))
}

// mischief is one thing that people and machines do at the wrong moment.
func (w *world) mischief() {
	s := anyOf(w, w.stations)
	slot := w.rng.IntN(len(s.hub.slots))
	c := s.hub.slots[slot]
	switch n := w.rng.IntN(100); {
	case n < 15:
		if s.life != nil {
			off := w.minutes()
			w.event("%s CRASHES for %s", s.name, off)
			s.down = time.Now().Add(off)
			s.crash()
		}
	case n < 25:
		asleep := w.minutes()
		w.event("%s is SUSPENDED for %s", s.name, asleep)
		s.frozen = time.Now().Add(asleep)
	case n < 30:
		w.stopNode()
	case n < 33:
		off := w.minutes()
		w.event("%s is CUT OFF for %s", s.name, off)
		s.cut = time.Now().Add(off)
	case n < 42 && c != nil:
		w.event("card %s is PULLED from %s", c.serial, s.hub.description(slot))
		w.table = append(w.table, s.hub.pull(slot))
	case n < 65 && c == nil && len(w.table) > 0:
		i := w.rng.IntN(len(w.table))
		c = w.table[i]
		w.table = slices.Delete(w.table, i, i+1)
		w.event("card %s is put into %s", c.serial, s.hub.description(slot))
		s.hub.insert(slot, c)
	case n < 80 && c == nil:
		c = w.blank()
		w.event("new card %s is put into %s", c.serial, s.hub.description(slot))
		s.hub.insert(slot, c)
	case n < 81 && c != nil && c.initialised:
		w.event("card %s DIES in %s", c.serial, s.hub.description(slot))
		c.dead = true
	case n < 90 && c != nil && c.initialised:
		w.event("card %s is taken out of %s", c.serial, s.hub.description(slot))
		w.table = append(w.table, s.hub.pull(slot))
		s.hub.insert(slot, w.blank())
	case n < 96 && w.orders < maxOrders:
		units := 1 + w.rng.IntN(3)
		w.event("order %d of %d units", w.orders, units)
		w.order(units)
	case n < 98 && w.orders > 0:
		w.cancel(w.rng.IntN(w.orders))
	default:
		w.decide()
	}
}

// stopNode ends one of the servers, mostly as a kill does. The last one starts again at once.
func (w *world) stopNode() {
	n := anyOf(w, w.up())
	kill, off := w.rng.IntN(4) > 0, w.minutes()
	if len(w.up()) == 1 {
		off = 0
	}
	how := "is STOPPED"
	if kill {
		how = "is KILLED"
	}
	w.event("%s %s for %s", n.name, how, off)
	n.stop(kill)
	if n.down = time.Now().Add(off); off == 0 {
		n.start()
	}
}

// astray lets a message arrive after the lease that it speaks of is over, while nobody
// hears of its sender: then the unit may be another station's.
func (w *world) astray(a *action) {
	const lease = 2 * time.Minute
	late := lease + time.Duration(w.rng.Int64N(int64(20*time.Second)))
	a.at, a.strayed = time.Now().Add(late), true
	s, gone := a.message.from, time.Now().Add(late+time.Minute)
	switch w.rng.IntN(3) {
	case 0:
		w.event("%s CRASHES", s.name)
		s.down = gone
		s.crash()
	case 1:
		w.event("%s is SUSPENDED", s.name)
		s.frozen = gone
	default:
		w.event("%s is CUT OFF", s.name)
		s.cut = gone
	}
}

// cancel withdraws an order, or one unit of it.
func (w *world) cancel(order int) {
	body := map[string]any{"operator": "op-1", "reason": "withdrawn"}
	if w.rng.IntN(2) == 0 {
		body["units"] = []string{orderID(order) + "-001"}
	}
	status := w.admin("POST", "/orders/"+orderID(order)+"/cancel", body, nil)
	w.event("order %d is CANCELLED, units %v: %d", order, body["units"], status)
}

// decide has two persons give up the first unit that waits for that.
func (w *world) decide() {
	for _, u := range w.model.look() {
		if u.State != api.HELD && u.State != api.STRANDED {
			continue
		}
		if w.rng.IntN(3) > 0 {
			continue
		}
		var answer api.DecisionAnswer
		body := map[string]any{"generation": u.Generation, "operator": "op-1", "reason": "the token is lost"}
		status := w.admin("POST", "/units/"+u.UnitId+"/reissue", body, nil)
		var list api.DecisionList
		w.admin("GET", "/decisions", nil, &list)
		for _, d := range list.Decisions {
			if d.UnitId == u.UnitId {
				status = w.admin("POST", "/decisions/"+d.DecisionId, map[string]any{"operator": "op-2"}, &answer)
			}
		}
		w.event("%s, which is %s, is to be made AGAIN: %d", u.UnitId, u.State, status)
		return
	}
}

// maxOrders bounds one world: the longer it lives the slower it is.
const maxOrders = 60

// settle makes the network whole, lets everybody work, gives every job the token that it
// waits for, and runs until all is done. What is not done in the end is an error.
func (w *world) settle() error {
	w.calm = true
	for _, s := range w.stations {
		s.frozen, s.down, s.cut = time.Time{}, time.Time{}, time.Time{}
	}
	for _, n := range w.nodes {
		n.down = time.Time{}
	}
	var left []string
	for round := range 30 {
		for _, s := range w.stations {
			w.tidy(s, round > 3)
		}
		until := time.Now().Add(10 * time.Minute)
		for time.Now().Before(until) {
			if err := w.step(); err != nil {
				return err
			}
		}
		synctestWait()
		left = w.unsettled()
		if len(w.broken) > 0 {
			return violation{w.broken}
		}
		if len(left) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", errNotConverged, strings.Join(left, "; "))
}

// tidy is what a careful person does at a station: every token that a job waits for is
// put back, jobs whose token is dead are given up, and with patience at its end those
// whose unit went elsewhere before a key was bound; blank tokens fill the rest.
func (w *world) tidy(s *station, impatient bool) {
	if s.life == nil {
		return
	}
	jobs, err := s.life.journal.Unfinished()
	w.must(err)
	others := map[string][]pkcs11.TokenSerial{}
	for _, j := range jobs {
		others[j.Job.ID], err = s.life.journal.SerialsOfOthers(j)
		w.must(err)
	}
	s.crash() // the slots are changed while nobody looks, and jobs are given up without the daemon
	for i := range s.hub.slots {
		if c := s.hub.pull(i); c != nil {
			w.table = append(w.table, c)
		}
	}
	used := map[int]bool{}
	for _, j := range jobs {
		c := w.cardOf(s, j, others[j.Job.ID])
		if c == nil && j.Token.Identity.Serial == "" {
			c = w.blank()
			w.table = append(w.table, c)
		}
		elsewhere := impatient && j.Waiting == provision.WaitingLease && !j.Facts.Bound
		if c == nil || c.dead || elsewhere {
			w.giveUp(s, j)
			continue
		}
		slot := slices.IndexFunc(s.hub.slots, func(c *card) bool { return c == nil })
		if j.Token.Identity.Serial == "" { // it is held by its place
			slot = slices.IndexFunc(s.hub.slots, func(*card) bool { return true })
			for i := range s.hub.slots {
				if s.hub.description(i) == j.Token.Identity.SlotDescription {
					slot = i
				}
			}
		}
		if slot < 0 || used[slot] || s.hub.slots[slot] != nil {
			continue // in the next round
		}
		used[slot] = true
		w.table = slices.DeleteFunc(w.table, func(o *card) bool { return o == c })
		s.hub.insert(slot, c)
	}
	for i, c := range s.hub.slots {
		if c == nil {
			s.hub.insert(i, w.blank())
		}
	}
	s.start()
}

// cardOf is the card on the table that a job is about, and no other job was.
func (w *world) cardOf(s *station, j *provision.Record, others []pkcs11.TokenSerial) *card {
	for _, c := range w.table {
		if id := j.Token.Identity; c.initialised && (c.serial == id.Serial || id.Serial == "" && j.Step == provision.StepInitialise && c.by == s.name && c.label == j.Job.TokenLabel && !slices.Contains(others, c.serial)) {
			return c
		}
	}
	return nil
}

// givenUp is the reason of a job that a person has given up.
const givenUp = "the token is dead"

// giveUp is usbkeyd jobs abandon.
func (w *world) giveUp(s *station, j *provision.Record) {
	w.event("%s gives up job %s", s.name, j.Job.ID)
	journal, err := provision.OpenJournal(s.dir + "/journal.db")
	w.must(err)
	w.must((&provision.Runner{Journal: journal, Now: time.Now}).GiveUp(j, givenUp, "Throw it away."))
	w.must(journal.Close())
}

// unsettled says what is not at its end: every unit is accounted for, no job waits, no
// report is unsent.
func (w *world) unsettled() (left []string) {
	stranded := map[string]bool{}
	for _, u := range w.model.look() {
		if u.State == api.STRANDED {
			stranded[requestID(u.UnitId, u.Generation)] = true
		}
		if !slices.Contains([]api.UnitStateName{api.INSTALLED, api.HELD, api.STRANDED, api.CANCELLED}, u.State) {
			left = append(left, fmt.Sprintf("%s is %s", u.UnitId, u.State))
		}
	}
	for _, s := range w.stations {
		if s.life == nil {
			left = append(left, s.name+" is off")
			continue
		}
		jobs, err := s.life.journal.Unfinished()
		w.must(err)
		for _, j := range jobs {
			left = append(left, fmt.Sprintf("%s: job %s waits at %s: %s", s.name, j.Job.ID, j.Step, j.Reason))
		}
		n, err := s.life.journal.CountPendingReports()
		w.must(err)
		if n > 0 {
			left = append(left, fmt.Sprintf("%s: %d reports are unsent", s.name, n))
		}
		all, err := s.life.journal.All()
		w.must(err)
		for _, j := range all {
			if j.State == provision.StateFinished && stranded[requestID(j.Job.UnitID(), int32(j.Job.Generation))] {
				left = append(left, fmt.Sprintf("%s: the result of job %s is lost", s.name, j.Job.ID))
			}
		}
		if len(left) == 0 {
			w.model.wiped(all)
		}
	}
	return left
}
