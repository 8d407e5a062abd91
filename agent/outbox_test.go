package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestOutboxIsBoundedInMemory: after a long time without the network many long
// reports go out, each once, and delivering them takes no more memory
// than delivering a few.
func TestOutboxIsBoundedInMemory(t *testing.T) {
	const few, many = 8 * outboxBatch, 500
	r := newRig(t, 1, time.Minute)
	var mu sync.Mutex
	var heap, most uint64
	var arrived []string
	r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		unit := path.Base(path.Dir(path.Dir(path.Dir(req.URL.Path)))) // /v1/units/U/generations/1/result
		mu.Lock()
		defer mu.Unlock()
		arrived = append(arrived, unit)
		if len(arrived)%outboxBatch == 1 {
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
		slices.Sort(arrived) // a few are under way at the same time
		if !slices.Equal(arrived, want) {
			t.Errorf("%d reports arrived for %d, or not each once", len(arrived), len(want))
		}
		if n == few {
			heap = most
		}
		mu.Unlock()
	}
	t.Logf("%d KiB of heap in use while %d reports were delivered, %d KiB at most with %d", heap>>10, few, most>>10, many)
	// All reports together are 8 MiB; the few that are under way at a time vary by one.
	if most > heap+3<<20 {
		t.Errorf("%d KiB of heap in use with %d reports in the outbox, %d KiB with %d", most>>10, many, heap>>10, few)
	}
}

// TestReportsOfAUnitKeepTheirOrder: those of two units are under way at the same time, those
// of one never are.
func TestReportsOfAUnitKeepTheirOrder(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	var mu sync.Mutex
	underWay, arrived := map[string]int{}, map[string][]string{}
	var both sync.WaitGroup
	both.Add(2)
	r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		parts := strings.Split(req.URL.Path, "/") // /v1/units/U/generations/1/result
		unit, generation := parts[3], parts[5]
		n, err := strconv.Atoi(generation)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		if underWay[unit]++; underWay[unit] > 1 {
			t.Errorf("two reports of unit %s at the same time", unit)
		}
		arrived[unit] = append(arrived[unit], generation)
		mu.Unlock()
		if generation == "1" {
			both.Done()
			both.Wait() // for the other unit's
		}
		mu.Lock()
		underWay[unit]--
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(api.UnitState{UnitId: unit, Generation: int32(n), Epoch: 1, State: api.INSTALLED})
		return true
	})
	a := New(r.config)
	for generation := 1; generation <= 3; generation++ {
		for _, unit := range []string{"SAMPLE-A", "SAMPLE-B"} {
			r.endJob(unit, generation, "")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if sent, err := a.deliver(ctx); err != nil || sent != 6 {
		t.Fatalf("%d reports were answered: %v", sent, err)
	}
	for unit, generations := range arrived {
		if !slices.Equal(generations, []string{"1", "2", "3"}) {
			t.Errorf("%s: the reports arrived as %v", unit, generations)
		}
	}
}

// fillOutbox ends so many jobs while nobody delivers their reports, and names the units.
func (r *rig) fillOutbox(n int) (units []string) {
	r.t.Helper()
	for k := range n {
		unit := fmt.Sprintf("SAMPLE-%d-%04d", n, k)
		r.endJob(unit, 1, strings.Repeat("a reason ", 1800))
		units = append(units, unit)
	}
	return units
}

// endJob finishes a job of a unit, with a report that nobody delivers yet.
func (r *rig) endJob(unit string, generation int, reason string) {
	r.t.Helper()
	job := provision.Job{Kind: provision.KindInitial, Subject: csr.SubjectData{UnitID: unit}, Generation: generation, CreatedAt: time.Now()}
	rec, err := r.journal.Create(job, 1, provision.TokenRef{Module: unit})
	if err != nil {
		r.t.Fatal(err)
	}
	rec.State = provision.StateFinished
	report := provision.Report{
		JobID: rec.Job.ID, Kind: provision.ReportResult, UnitID: unit, Generation: generation, Epoch: 1, Outcome: provision.OutcomeInstalled,
		TokenSerial: "0001", Reason: reason,
	}
	if err := r.journal.Finish(rec, &report); err != nil {
		r.t.Fatal(err)
	}
}
