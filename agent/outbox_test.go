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

// TestUnitsThatCannotBeAnsweredHoldUpNobody: the server fails at more units than are under way
// at a time, again and again, and those of all others are answered; a unit's second report
// still waits for its first.
func TestUnitsThatCannotBeAnsweredHoldUpNobody(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	var mu sync.Mutex
	arrived := map[string]bool{}
	mended := false
	r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		parts := strings.Split(req.URL.Path, "/") // /v1/units/U/generations/1/result
		unit, generation := parts[3], parts[5]
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(unit, "SAMPLE-BAD") && !mended {
			if generation != "1" {
				t.Errorf("report %s of %s was sent before its first was answered", generation, unit)
			}
			respond(w, http.StatusInternalServerError, api.ProblemMediaType, api.Problem{Type: api.ProblemInternal, Title: "internal error", Status: 500, Retryable: true})
			return true
		}
		arrived[unit+" "+generation] = true
		n, _ := strconv.Atoi(generation)
		respond(w, http.StatusOK, "application/json", api.UnitState{UnitId: unit, Generation: int32(n), Epoch: 1, State: api.INSTALLED})
		return true
	})
	a := New(r.config)
	for k := range outboxBatch + 3 {
		r.endJob(fmt.Sprintf("SAMPLE-BAD-%d", k), 1, "")
	}
	for k := range outboxBatch {
		r.endJob(fmt.Sprintf("SAMPLE-GOOD-%d", k), 1, "")
		r.endJob(fmt.Sprintf("SAMPLE-BAD-%d", k), 2, "")
	}
	rounds := func(n int) {
		for range n {
			_, _ = a.deliver(t.Context()) // what outbox does, without its pauses
		}
	}
	rounds(10)
	if len(arrived) != outboxBatch {
		t.Errorf("%d reports of units that can be answered arrived, want %d", len(arrived), outboxBatch)
	}
	mu.Lock()
	mended = true
	mu.Unlock()
	rounds(5)
	if waiting, err := r.journal.CountPendingReports(); err != nil || waiting != 0 {
		t.Errorf("%d reports wait after the server was mended: %v", waiting, err)
	}
}

// TestWhatIsNotSaidOfTheReport: neither a gateway's answer in the form of a problem nor that the
// station's certificate had expired takes a report out of the outbox.
func TestWhatIsNotSaidOfTheReport(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   any
	}{
		"a gateway, with the type that all may use": {http.StatusServiceUnavailable, map[string]any{"type": "about:blank", "title": "Service Unavailable", "status": 503}},
		"a gateway, with a type of its own":         {http.StatusBadRequest, map[string]any{"type": "https://gateway.example/limit", "title": "Too long", "status": 400}},
		"the certificate had expired":               {http.StatusUnauthorized, api.Problem{Type: api.ProblemUnauthenticated, Title: "the certificate has expired", Status: 401}},
		"the session was another's":                 {http.StatusConflict, api.Problem{Type: api.ProblemSessionConflict, Title: "another instance", Status: 409}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, time.Minute)
			r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
				if strings.HasSuffix(req.URL.Path, "/heartbeat") { // the certificate is renewed by now
					respond(w, http.StatusOK, "application/json", api.HeartbeatAnswer{Units: []api.HeartbeatStatus{}})
					return true
				}
				respond(w, answer.status, api.ProblemMediaType, answer.body)
				return true
			})
			a := New(r.config)
			r.endJob("SAMPLE-A", 1, "")
			_, err := a.deliver(t.Context())
			if waiting, failed := r.journal.CountPendingReports(); failed != nil || waiting != 1 || err == nil {
				t.Errorf("%d reports wait, want 1: %v (%v)", waiting, err, failed)
			}
		})
	}
}

func respond(w http.ResponseWriter, status int, mediaType string, body any) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
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
