package central_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

func unitIDs(leases []api.Lease) []string {
	var out []string
	for _, l := range leases {
		out = append(out, l.UnitId)
	}
	return out
}

func TestClaimsGoByDueTimeAndProduct(t *testing.T) { onBothEngines(t, testClaimsGoByDueTimeAndProduct) }

func testClaimsGoByDueTimeAndProduct(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	late, early, other := order("LATER", 2), order("EARLIER", 2), order("OTHER", 1)
	late["dueAt"], early["dueAt"], other["dueAt"] = "2026-11-25T18:00:00+08:00", "2026-11-24T18:00:00+08:00", "2026-11-23T18:00:00+08:00"
	other["productCode"] = "ANOTHER"
	for _, o := range []map[string]any{late, other, early} {
		r.submit(o)
	}
	if diff := cmp.Diff([]string{"EARLIER-001", "EARLIER-002", "LATER-001"}, unitIDs(s.claim(3))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"LATER-002"}, unitIDs(s.claim(3))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnOrderStaysAtHome(t *testing.T) { onBothEngines(t, testAnOrderStaysAtHome) }

func testAnOrderStaysAtHome(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	home, guest := r.station("bay-1"), r.station("bay-2")
	r.submit(order("HOME", 3))
	if got := unitIDs(home.claim(1)); len(got) != 1 {
		t.Fatalf("claimed %v", got)
	}
	if got := guest.claim(3); len(got) != 0 {
		t.Fatalf("a guest got %v of an order with a living home", unitIDs(got))
	}
	r.clock.advance(11 * time.Minute)
	guest.open()
	if got := guest.claim(3); len(got) != 3 {
		t.Errorf("after its home died the order gave %v", unitIDs(got))
	}
	home.open()
	if got := home.claim(3); len(got) != 0 {
		t.Errorf("the old home still got %v", unitIDs(got))
	}
}

func TestClaimKeys(t *testing.T) { onBothEngines(t, testClaimKeys) }

func testClaimKeys(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	key := uuid.NewString()
	first := s.claimAs(key, 2, 0)
	if first.status != http.StatusNoContent || first.header.Get("Retry-After") == "" {
		t.Fatalf("nothing to do: %v", first)
	}
	r.submit(order("KEYS", 3))
	given := must[api.ClaimAnswer](t, s.claimAs(key, 2, 0), http.StatusOK).Leases // a 204 is not remembered
	again := must[api.ClaimAnswer](t, s.claimAs(key, 2, 0), http.StatusOK).Leases
	if diff := cmp.Diff(given, again); diff != "" || len(given) != 2 {
		t.Errorf("the same key again (-first +second):\n%s", diff)
	}
	wantProblem(t, s.claimAs(key, 1, 0), http.StatusUnprocessableEntity, api.ProblemIdempotencyKeyReused)
	wantProblem(t, s.send(http.MethodPost, "/claims", s.claimRequest(1)), http.StatusBadRequest, api.ProblemIdempotencyKeyMissing)
	wantProblem(t, s.send(http.MethodPost, "/claims", s.claimRequest(1), "Idempotency-Key", "?"), http.StatusBadRequest, api.ProblemBadRequest)

	// A repeat renews what is held, and promises nothing of what is lost: the station
	// counts from when it asked.
	must[api.UnitState](t, s.release("KEYS-001", 1, api.NoToken), http.StatusOK)
	r.clock.advance(100 * time.Second)
	again = must[api.ClaimAnswer](t, s.claimAs(key, 2, 0), http.StatusOK).Leases
	if again[0].LeaseSeconds != 1 || again[0].Epoch != 1 || again[1].LeaseSeconds != 120 {
		t.Errorf("leases of a late repeat: %+v", again)
	}
	r.clock.advance(25 * time.Hour)
	s.open()
	if got := must[api.ClaimAnswer](t, s.claimAs(key, 1, 0), http.StatusOK).Leases; len(got) != 1 || got[0].Epoch < 2 {
		t.Errorf("after a day the key is free again: %+v", got)
	}
}

// A claim that waits, and a repeat of it, are woken by the order and get the same.
func TestWaitingClaimsAreWokenAndJoined(t *testing.T) {
	onBothEngines(t, testWaitingClaimsAreWokenAndJoined)
}

func testWaitingClaimsAreWokenAndJoined(t *testing.T, e engine) {
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	promptly(t, "waiting claims were answered", 1500*time.Millisecond, func(try int) time.Duration {
		key := uuid.NewString()
		first, repeat := s.waits(key, 2, 20), s.waits(key, 2, 20)
		wantProblem(t, s.claimAs(key, 1, 0), http.StatusUnprocessableEntity, api.ProblemIdempotencyKeyReused)
		begun := time.Now()
		r.submit(order(fmt.Sprint("WAKE-", try), 2))
		one, other := <-first, <-repeat
		took := time.Since(begun)
		if one.status != http.StatusOK || string(one.body) != string(other.body) {
			t.Errorf("the repeat got something else:\n%v\n%v", one, other)
		}
		return took
	})
}

// A claim that nothing comes for is answered when its time is over.
func TestWaitingEndsInTime(t *testing.T) { onBothEngines(t, testWaitingEndsInTime) }

func testWaitingEndsInTime(t *testing.T, e engine) {
	t.Parallel()
	s := newRig(t, e, nil).station("bay-1")
	begun := time.Now()
	if a := s.claimAs(uuid.NewString(), 1, 1); a.status != http.StatusNoContent || time.Since(begun) < time.Second {
		t.Errorf("got %v after %s", a, time.Since(begun))
	}
}

func TestWaitingEndsWithTheServer(t *testing.T) { onBothEngines(t, testWaitingEndsWithTheServer) }

func testWaitingEndsWithTheServer(t *testing.T, e engine) {
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	done := s.waits(uuid.NewString(), 1, 25)
	begun := time.Now()
	r.stop()
	if a := <-done; a.status != http.StatusNoContent || time.Since(begun) > 20*time.Second {
		t.Errorf("got %v after %s", a, time.Since(begun))
	}
}

// Sixteen stations at once: nobody gets what another has, and no order is split.
func TestConcurrentClaims(t *testing.T) { onBothEngines(t, testConcurrentClaims) }

func testConcurrentClaims(t *testing.T, e engine) {
	t.Parallel()
	const stations, orders, quantity = 16, 24, 5
	r := newRig(t, e, nil)
	var all []*station
	for i := range stations {
		all = append(all, r.station(fmt.Sprintf("bay-%d", i)))
	}
	for i := range orders {
		r.submit(order(fmt.Sprintf("C%03d", i), quantity))
	}
	var mu sync.Mutex
	holder := make(map[string]string)
	homes := make(map[string]map[string]bool)
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			for {
				leases := s.claim(3)
				if len(leases) == 0 {
					return
				}
				mu.Lock()
				for _, l := range leases {
					if other, taken := holder[l.UnitId]; taken {
						t.Errorf("%s was given to %s and %s", l.UnitId, other, s.name)
					}
					holder[l.UnitId] = s.name
					if homes[l.OrderId] == nil {
						homes[l.OrderId] = make(map[string]bool)
					}
					homes[l.OrderId][s.name] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(holder) != orders*quantity {
		t.Errorf("%d units were given out, want %d", len(holder), orders*quantity)
	}
	for id, at := range homes {
		if len(at) != 1 {
			t.Errorf("order %s is split over %d stations", id, len(at))
		}
	}
}
