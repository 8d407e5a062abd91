package central_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
)

// A lease that ran out goes to whoever claims next, and its old holder is told at
// every turn that it has lost it.
func TestZombieIsStopped(t *testing.T) { onBothEngines(t, testZombieIsStopped) }

func testZombieIsStopped(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	old, next := r.station("bay-1"), r.station("bay-2")
	w := old.one("ZOMBIE").escrowed()

	r.clock.advance(121 * time.Second)
	wantProblem(t, w.putCSR(), http.StatusConflict, api.ProblemStaleEpoch) // before anybody else has it
	r.waitState("ZOMBIE-001", api.READY)
	if u := r.unit("ZOMBIE-001"); u.Attempts != 0 {
		t.Errorf("an expired lease counted as %d attempts", u.Attempts)
	}
	if got := next.claim(1); len(got) != 0 {
		t.Fatalf("the order left its home at once: %+v", got)
	}
	r.clock.advance(10 * time.Minute)
	next.open()
	leases := next.claim(1)
	if len(leases) != 1 || leases[0].Epoch != 2 || leases[0].Generation != 1 {
		t.Fatalf("re-claim: %+v", leases)
	}

	zombie := []struct {
		name string
		send func() answer
	}{
		{"csr", w.putCSR},
		{"new escrow", func() answer {
			other := *w
			other.escrowID = uuid.NewString()
			return other.putEscrow()
		}},
		{"release", func() answer { return old.release("ZOMBIE-001", 1, api.Shutdown) }},
		{"result", w.putResult},
	}
	for _, row := range zombie {
		t.Run(row.name, func(t *testing.T) {
			a := row.send()
			wantProblem(t, a, http.StatusConflict, api.ProblemStaleEpoch)
			if a.problem.CurrentEpoch == nil || *a.problem.CurrentEpoch != 2 {
				t.Errorf("the present epoch is not told: %s", a.body)
			}
		})
	}
	old.open()
	if got := old.beat("ZOMBIE-001", 1); got.Status != api.Lost {
		t.Errorf("heartbeat of a zombie: %+v", got)
	}
	next.begin(leases[0]).issued()
}

// With the present epoch, guessed, another station's unit is still not its own.
func TestAnotherStationsUnit(t *testing.T) { onBothEngines(t, testAnotherStationsUnit) }

func testAnotherStationsUnit(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	owner, thief := r.station("bay-1"), r.station("bay-2")
	w := owner.one("OWNED").escrowed()
	stolen := *w
	stolen.station = thief
	rows := []struct {
		name string
		send func() answer
		want api.ProblemType
	}{
		{"csr", stolen.putCSR, api.ProblemForbidden},
		{"certificate", func() answer { return stolen.getCertificate(0) }, api.ProblemForbidden},
		{"result", stolen.putResult, api.ProblemForbidden},
		{"release", func() answer { return thief.release("OWNED-001", 1, api.Shutdown) }, api.ProblemForbidden},
		{"token of its escrow", stolen.putToken, api.ProblemForbidden},
	}
	check := func(t *testing.T) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) { wantProblem(t, row.send(), http.StatusForbidden, row.want) })
		}
	}
	t.Run("leased", check)
	if got := thief.beat("OWNED-001", 1); got.Status != api.Lost {
		t.Errorf("heartbeat: %+v", got)
	}
	w.take(must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK))
	t.Run("issued", check)
	must[api.UnitState](t, w.putResult(), http.StatusOK)
}

func TestRelease(t *testing.T) { onBothEngines(t, testRelease) }

func testRelease(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, func(c *central.Config) { c.Rules.BreakerFailures = 100 }) // the unit is looked at here, not the station
	s := r.station("bay-1")
	r.submit(order("RELEASE", 1))
	for i := range 7 {
		reason, failed := api.NoToken, 0
		if i >= 2 {
			reason, failed = api.TokenFaulty, i-1
		}
		l := s.claim(1)
		if len(l) != 1 {
			t.Fatalf("claim %d got nothing", i)
		}
		state := must[api.UnitState](t, s.release("RELEASE-001", l[0].Epoch, reason), http.StatusOK)
		want := api.READY
		if failed == 5 {
			want = api.HELD
		}
		if u := r.unit("RELEASE-001"); state.State != want || u.Attempts != failed {
			t.Errorf("release %d: %s with %d attempts, want %s with %d", i, state.State, u.Attempts, want, failed)
		}
		wantProblem(t, s.release("RELEASE-001", l[0].Epoch, reason), http.StatusConflict, map[bool]api.ProblemType{true: api.ProblemUnitState, false: api.ProblemStaleEpoch}[want == api.HELD])
	}
	if u := r.unit("RELEASE-001"); !strings.HasPrefix(*u.HeldReason, "too many failed attempts (5), the last: token-faulty") {
		t.Errorf("held for %q", *u.HeldReason)
	}
}

func TestReleaseAfterBindingIsRefused(t *testing.T) {
	onBothEngines(t, testReleaseAfterBindingIsRefused)
}

func testReleaseAfterBindingIsRefused(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	w := r.station("bay-1").one("LATE").issued()
	wantProblem(t, w.release("LATE-001", 1, api.NoToken), http.StatusConflict, api.ProblemUnitState)
}

// Bound units never go back to READY by themselves; their station's late result is a fact.
func TestCustody(t *testing.T) { onBothEngines(t, testCustody) }

func testCustody(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	w := s.one("CUSTODY").issued()
	r.clock.advance(71 * time.Hour)
	s.open()
	if got := s.beat("CUSTODY-001", 1); got.Status != api.Ok {
		t.Fatalf("heartbeat: %+v", got)
	}
	r.clock.advance(71 * time.Hour)
	r.wantState("CUSTODY-001", api.ISSUED)
	r.clock.advance(2 * time.Hour)
	r.waitState("CUSTODY-001", api.STRANDED)
	s.open()
	if got := s.beat("CUSTODY-001", 1); got.Status != api.Lost {
		t.Errorf("heartbeat of a stranded unit: %+v", got)
	}
	// Its station is told that it has lost the unit, not that it must give it up.
	wantProblem(t, w.getCertificate(0), http.StatusConflict, api.ProblemStaleEpoch)
	wantProblem(t, w.putCSR(), http.StatusConflict, api.ProblemStaleEpoch)
	if got := s.claim(1); len(got) != 0 {
		t.Fatalf("a stranded unit was given out: %+v", got)
	}
	if state := must[api.UnitState](t, w.putResult(), http.StatusOK); state.State != api.INSTALLED {
		t.Errorf("after the late result the unit is %s", state.State)
	}
}

func TestSessions(t *testing.T) { onBothEngines(t, testSessions) }

func testSessions(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	r.submit(order("SESSION", 3))
	leases := s.claim(2)
	s.begin(leases[0]).issued()

	// After a restart the station is told which unbound leases it holds.
	first := s.session
	again := s.open()
	if again.SessionId == first || len(again.Held) != 1 || again.Held[0].UnitId != "SESSION-002" || again.Held[0].Epoch != 1 || again.Held[0].LeaseSeconds != 120 {
		t.Errorf("the same instance again: %+v", again)
	}
	s.session = first
	wantProblem(t, s.claimAs(uuid.NewString(), 1, 0), http.StatusConflict, api.ProblemSessionUnknown)
	wantProblem(t, s.send(http.MethodPost, "/heartbeat", api.HeartbeatRequest{SessionId: first, Units: []api.HeartbeatUnit{}}), http.StatusConflict, api.ProblemSessionUnknown)

	// A copy of its disk, or a second daemon, is kept out while the first lives.
	original := s.instance
	s.instance = uuid.NewString()
	a := s.send(http.MethodPut, "/session", s.sessionRequest())
	wantProblem(t, a, http.StatusConflict, api.ProblemSessionConflict)
	if !a.problem.Retryable {
		t.Error("a session conflict ends by itself, so it must be retryable")
	}
	r.clock.advance(3 * time.Minute)
	if got := s.open(); len(got.Held) != 0 {
		t.Errorf("a lease that ran out is told as held: %+v", got.Held)
	}
	s.instance = original
	wantProblem(t, s.send(http.MethodPut, "/session", s.sessionRequest()), http.StatusConflict, api.ProblemSessionConflict)

	q := s.sessionRequest()
	q.ProtocolVersion = 2
	wantProblem(t, s.send(http.MethodPut, "/session", q), http.StatusConflict, api.ProblemProtocolUnsupported)
}

func TestHeartbeatOfManyIsOneAnswer(t *testing.T) { onBothEngines(t, testHeartbeatOfManyIsOneAnswer) }

func testHeartbeatOfManyIsOneAnswer(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	r.submit(order("MANY", 3))
	leases := s.claim(3)
	r.clock.advance(100 * time.Second)
	q := api.HeartbeatRequest{SessionId: s.session}
	for _, l := range leases {
		q.Units = append(q.Units, api.HeartbeatUnit{UnitId: l.UnitId, Epoch: l.Epoch, Phase: "init"})
	}
	q.Units = append(q.Units, api.HeartbeatUnit{UnitId: "NOWHERE-001", Epoch: 1, Phase: ""}, api.HeartbeatUnit{UnitId: "MANY-001", Epoch: 9, Phase: ""})
	got := must[api.HeartbeatAnswer](t, s.send(http.MethodPost, "/heartbeat", q), http.StatusOK)
	var statuses []string
	for _, u := range got.Units {
		statuses = append(statuses, fmt.Sprintf("%s/%d %s %d", u.UnitId, u.Epoch, u.Status, u.LeaseSeconds))
	}
	want := []string{"MANY-001/1 ok 120", "MANY-002/1 ok 120", "MANY-003/1 ok 120", "NOWHERE-001/1 lost 0", "MANY-001/9 lost 0"}
	if diff := cmp.Diff(want, statuses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.clock.advance(100 * time.Second) // past the first lease, within the renewed one
	time.Sleep(60 * time.Millisecond)  // a few sweeps
	if u := r.wantState("MANY-002", api.LEASED); *u.Phase != "init" {
		t.Errorf("phase %q", *u.Phase)
	}
}

// TestEscrowFollowsItsUnit: a station that lost the lease after the escrow and got
// the unit again tells it again under the new epoch, and goes on with the same token.
func TestEscrowFollowsItsUnit(t *testing.T) { onBothEngines(t, testEscrowFollowsItsUnit) }

func testEscrowFollowsItsUnit(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	w := s.one("AGAIN").escrowed()
	r.clock.advance(121 * time.Second)
	r.waitState("AGAIN-001", api.READY)
	wantProblem(t, func() answer {
		late := *w
		late.escrow.Epoch = 2 // nobody has that epoch yet
		return late.putEscrow()
	}(), http.StatusConflict, api.ProblemStaleEpoch)
	s.open()
	leases := s.claim(1)
	if len(leases) != 1 || leases[0].Epoch != 2 {
		t.Fatalf("re-claim: %+v", leases)
	}
	w.escrow.Epoch, w.csr.Epoch = 2, 2
	if a := w.putEscrow(); a.status != http.StatusOK {
		t.Fatalf("escrow under the new epoch: %d %s", a.status, a.body)
	}
	if a := w.putCSR(); a.status != http.StatusOK && a.status != http.StatusAccepted {
		t.Errorf("request under the new epoch: %d %s", a.status, a.body)
	}
}

// TestHeartbeatTellsWhatIsUrgent: an order that becomes urgent after its lease, and is not any more.
func TestHeartbeatTellsWhatIsUrgent(t *testing.T) { onBothEngines(t, testHeartbeatTellsWhatIsUrgent) }

func testHeartbeatTellsWhatIsUrgent(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	w := s.one("RUSH").escrowed()
	other := s.one("PLAIN")
	tells := func(when string, want bool) {
		t.Helper()
		for unit, urgent := range map[string]bool{w.lease.UnitId: want, other.lease.UnitId: false} {
			if got := s.beat(unit, 1); got.Status != api.Ok || got.Urgent == nil || *got.Urgent != urgent {
				t.Errorf("%s: of %s: %+v", when, unit, got)
			}
		}
	}
	flag := func(f api.OrderFlags) {
		t.Helper()
		if _, err := r.admin.FlagOrder(t.Context(), "RUSH", f); err != nil {
			t.Fatal(err)
		}
	}
	tells("at first", false)
	flag(api.OrderFlags{Urgent: true})
	tells("leased", true)
	if a := w.putCSR(); a.status != http.StatusOK && a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	tells("bound", true)
	if got := s.beat("RUSH-001", 9); got.Status != api.Lost || got.Urgent != nil {
		t.Errorf("of what is lost: %+v", got)
	}
	flag(api.OrderFlags{})
	tells("not urgent any more", false)
}
