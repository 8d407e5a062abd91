package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestOutboxIsBoundedInMemory: after a long time without the network many long
// reports go out in their order, each once, and delivering them takes no more memory
// than delivering a few.
func TestOutboxIsBoundedInMemory(t *testing.T) {
	const few, many = 2 * outboxBatch, 500
	r := newRig(t, 1, time.Minute)
	var mu sync.Mutex
	var heap, most uint64
	var arrived []string
	r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		unit := path.Base(path.Dir(path.Dir(path.Dir(req.URL.Path)))) // /v1/units/U/generations/1/result
		mu.Lock()
		defer mu.Unlock()
		arrived = append(arrived, unit)
		if len(arrived)%(few/2) == 1 {
			runtime.GC()
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(api.UnitState{UnitId: unit, Generation: 1, Epoch: 1, State: api.INSTALLED})
		return true
	})
	a := New(r.config)
	for _, n := range []int{few, many} {
		want := r.fillOutbox(n)
		mu.Lock()
		arrived, most = nil, 0
		mu.Unlock()
		for {
			sent, err := a.deliver(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if sent == 0 {
				break
			}
		}
		mu.Lock()
		if !slices.Equal(arrived, want) {
			t.Errorf("%d reports arrived for %d, or in another order", len(arrived), len(want))
		}
		if n == few {
			heap = most
		}
		mu.Unlock()
	}
	t.Logf("%d KiB of heap in use while %d reports were delivered, %d KiB at most with %d", heap>>10, few, most>>10, many)
	if most > heap+1<<20 {
		t.Errorf("%d KiB of heap in use with %d reports in the outbox, %d KiB with %d", most>>10, many, heap>>10, few)
	}
}

// fillOutbox ends so many jobs while nobody delivers their reports, and names the units.
func (r *rig) fillOutbox(n int) (units []string) {
	r.t.Helper()
	for k := range n {
		unit := fmt.Sprintf("SAMPLE-%d-%04d", n, k)
		job := provision.Job{Kind: provision.KindInitial, Subject: csr.SubjectData{UnitID: unit}, Generation: 1, CreatedAt: time.Now()}
		rec, err := r.journal.Create(job, 1, provision.TokenRef{Module: unit})
		if err != nil {
			r.t.Fatal(err)
		}
		rec.State = provision.StateFinished
		report := provision.Report{
			JobID: rec.Job.ID, Kind: provision.ReportResult, UnitID: unit, Generation: 1, Epoch: 1, Outcome: provision.OutcomeInstalled,
			TokenSerial: "0001", Reason: strings.Repeat("a reason ", 1800),
		}
		if err := r.journal.Finish(rec, &report); err != nil {
			r.t.Fatal(err)
		}
		units = append(units, unit)
	}
	return units
}
