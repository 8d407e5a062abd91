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
