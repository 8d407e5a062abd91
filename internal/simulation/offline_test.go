//go:build !race

package simulation

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
)

// TestAnHourOffline: once keys are bound the network is away for an hour, longer than
// custody. The station goes on, its results wait, and all arrive, each once.
func TestAnHourOffline(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	keys, err := recipientKeys()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, dir, keys)
		defer w.end()
		w.calm = true
		s := w.addStation("station-1", 3)
		for slot := range s.hub.slots {
			s.hub.insert(slot, w.blank())
		}
		w.order(3)

		// Every job has its certificate and is about to write it when the network goes.
		writes := func(a *action) bool { return strings.HasPrefix(a.what, "C_CreateObject") }
		w.hold = writes
		w.until(t, 3, writes)
		w.hold = nil
		var arrived []string
		w.heard = func(method, path string, body []byte) {
			if strings.HasSuffix(path, "/result") {
				var r api.ResultRequest
				w.must(json.Unmarshal(body, &r))
				arrived = append(arrived, strings.Split(path, "/")[3])
			}
		}
		w.offline = true
		gone := time.Now()
		for time.Since(gone) < time.Hour {
			w.mustStep(t)
		}
		if len(arrived) != 0 {
			t.Errorf("results came over a network that is away: %v", arrived)
		}
		waiting, err := s.life.journal.PendingReports(10)
		w.must(err)
		if len(waiting) != 3 {
			t.Errorf("%d results wait after an hour, want 3: the station did not go on", len(waiting))
		}
		for _, u := range w.units() {
			if u.State != api.STRANDED {
				t.Errorf("%s is %s after an hour without a word, want STRANDED", u.UnitId, u.State)
			}
		}

		w.offline = false
		back := time.Now()
		for time.Since(back) < 5*time.Minute {
			w.mustStep(t)
		}
		var want []string
		for _, r := range waiting {
			want = append(want, r.UnitID)
		}
		slices.Sort(want)
		slices.Sort(arrived) // different units' go at the same time
		if !slices.Equal(arrived, want) {
			t.Errorf("the results of %v arrived, want those of %v, each once", arrived, want)
		}
		for _, u := range w.model.look() {
			if u.State != api.INSTALLED {
				t.Errorf("%s is %s, want INSTALLED", u.UnitId, u.State)
			}
		}
		if left := w.unsettled(); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
		if len(w.broken) > 0 {
			t.Error(w.broken)
		}
	})
}

// until lets the world go on until n actions of a kind are about to happen.
func (w *world) until(t *testing.T, n int, here func(*action) bool) {
	t.Helper()
	for w.steps < 2000 {
		found := 0
		for _, a := range w.gate.all() {
			if here(a) {
				found++
			}
		}
		if found == n {
			return
		}
		w.mustStep(t)
	}
	t.Fatal("what was waited for does not happen")
}

func (w *world) mustStep(t *testing.T) {
	t.Helper()
	if err := w.step(); err != nil {
		t.Fatal(err)
	}
}
