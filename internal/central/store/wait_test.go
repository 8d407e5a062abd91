package store

import (
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// pending has the CA say "not yet", and come back after that time.
func (w *situation) pending(after time.Duration) {
	w.t.Helper()
	w.must(w.s.Pending(w.t.Context(), w.unitID(), 1, alone, Wait{Why: "202", After: after, Pause: time.Second, MaxPause: time.Minute}))
}

// live lets time pass in which the station of the unit is heard of.
func (w *situation) live(d time.Duration) {
	w.t.Helper()
	for ; d > 0; d -= time.Hour {
		w.skip(time.Hour)
		_, err := w.s.Heartbeat(w.t.Context(), "bay-1", w.session("bay-1"), []Beat{{UnitID: w.unitID(), Epoch: 1}})
		w.must(err)
	}
}

// What persons found out about a CA that did not decide begins its time anew.
func TestAbsenceEndsAWait(t *testing.T) { onBothEngines(t, testAbsenceEndsAWait) }

func testAbsenceEndsAWait(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "WAIT", key: "wait"}
	w.order("WAIT", 1, 0)
	w.reach(Issuing)
	w.pending(80 * time.Hour)
	w.live(80 * time.Hour)
	if u := w.unit(); u.State != IssueUnknown {
		t.Fatalf("the unit is %s", u.State)
	}
	w.must(w.ask(ActionAbsent))
	w.must(w.intend())
	w.pending(time.Minute)
	if u := w.unit(); u.State != Issuing {
		t.Errorf("after one \"not yet\" it is %s again", u.State)
	}
}

// The CA is left alone for as long as it said, wherever the unit is, and its "not yet" moves
// nothing that is on its way out.
func TestAWaitIsKeptTo(t *testing.T) { onBothEngines(t, testAWaitIsKeptTo) }

func testAWaitIsKeptTo(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	for state, leave := range map[State]func(w *situation){
		Issuing:    func(*situation) {},
		Stranded:   (*situation).strand,
		Held:       func(w *situation) { w.must(w.result("faulty")) },
		Cancelling: func(w *situation) { w.must(w.cancel()) },
	} {
		w := &situation{t: t, s: s, skip: skip, id: "KEPT-" + string(state), key: string(state)}
		w.order(w.id, 1, 0)
		w.reach(Issuing)
		leave(w)
		open := func(want bool) {
			t.Helper()
			units, err := s.Unissued(t.Context(), alone)
			if err != nil || (len(units) > 0) != want {
				t.Errorf("%s: there are %d units to ask about (%v)", state, len(units), err)
			}
			if !want {
				task, err := s.Intend(t.Context(), w.unitID(), 1, alone)
				if err != nil || !task.Waiting {
					t.Errorf("%s: the CA is asked: %+v %v", state, task, err)
				}
			}
		}
		open(true)
		w.pending(time.Hour)
		open(false)
		skip(time.Hour)
		open(true)
		w.must(w.intend())
		open(true) // while it is asked it is not known what comes of it
		w.pending(100 * time.Hour)
		if u := w.unit(); u.State != state && (state != Issuing || u.State != IssueUnknown) {
			t.Errorf("\"not yet\" makes a unit %s that was %s", u.State, state)
		}
		w.must(w.issued())
		_, err := s.ResetStation(t.Context(), "bay-1")
		w.must(err)
	}
}
