package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// A store that is set back beneath a server that is at work gives nothing out, from
// the first moment on, and until it is recovered.
func TestNothingIsGivenOutByAnOlderStore(t *testing.T) { onBothEngines(t, testNothingIsGivenOut) }

func testNothingIsGivenOut(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	ctx := t.Context()
	l := claim(t, s, "bay-1")[0]
	if !s.Changed() {
		t.Error("a lease is no change")
	}
	mark, err := s.Grow(ctx, 0)
	if err != nil || s.Changed() {
		t.Fatalf("grow: %v", err)
	}
	// A session, as the restored store would have it, for a claim that is refused for no
	// other reason.
	session, _, err := s.PutSession(ctx, Session{Station: "bay-1", InstanceID: "bay-1", Lease: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	wantBusy := func(when string) {
		t.Helper()
		_, err := s.Claim(ctx, Claim{Station: "bay-1", SessionID: session.ID, KeySHA256: hexSum([]byte("bay-1")), Key: uuid.NewString(), Max: 1, Products: []string{"P"}})
		if !isRefusal(err, Busy) {
			t.Errorf("%s a claim is answered: %v", when, err)
		}
		if err := bind(t, s, l, "k"+when); !isRefusal(err, Busy) {
			t.Errorf("%s a key is bound: %v", when, err)
		}
		if _, err := s.Intend(ctx, l.Unit.ID, 1, alone); !isRefusal(err, Busy) {
			t.Errorf("%s the CA is asked: %v", when, err)
		}
	}
	set := func(query string, args ...any) {
		t.Helper()
		if _, err := s.db.Write.ExecContext(ctx, query, args...); err != nil {
			t.Fatal(err)
		}
	}
	set(`UPDATE store_age SET mark = $1`, mark-1)
	wantBusy("older")
	if _, err := s.Grow(ctx, 0); !errors.Is(err, ErrOlder) {
		t.Errorf("an older store grows: %v", err)
	}
	set(`UPDATE store_age SET recovering = 1, mark = $1`, mark+1)
	wantBusy("recovering")
	if _, err := s.Grow(ctx, 0); !errors.Is(err, ErrRecovering) {
		t.Errorf("a store grows while it is recovered: %v", err)
	}
	if mark, err = s.FinishRecovery(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Grow(ctx, mark); err != nil || again != mark+1 {
		t.Errorf("after the recovery: %d %v", again, err)
	}
	if err := bind(t, s, l, "k"); err != nil {
		t.Errorf("after the recovery: %v", err)
	}
}

// Recovery ends leases, makes unknown what may have been asked, and raises epochs.
func TestBeginRecovery(t *testing.T) { onBothEngines(t, testBeginRecovery) }

func testBeginRecovery(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	ctx := t.Context()
	bound := claim(t, s, "bay-1")[0]
	if err := bind(t, s, bound, "k1"); err != nil {
		t.Fatal(err)
	}
	leased := claim(t, s, "bay-1")[0]
	if err := s.BeginRecovery(ctx, 0, false); !errors.Is(err, ErrNotOlder) {
		t.Fatalf("a store that is not older is recovered: %v", err)
	}
	for range 2 { // the second goes on with the first
		if err := s.BeginRecovery(ctx, 7, false); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]State{bound.Unit.ID: IssueUnknown, leased.Unit.ID: Ready} {
		history, err := s.History(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		last := history[len(history)-1]
		if last.Event != EventRecover || last.To != want || last.Epoch != 1+epochLeap {
			t.Errorf("unit %s: %+v", id, last)
		}
	}
	if units, err := s.Recoverables(ctx); err != nil || len(units) != 2 || !units[0].Bound || units[1].Bound {
		t.Errorf("to recover: %+v %v", units, err)
	}
	// The key of the unit's certificate is another one than is bound.
	c := Certificate{PKCS7: []byte("p7"), Serial: "4a", SHA256: "ff", NotAfter: time.Now(), PublicKeySHA256: hexSum([]byte("other"))}
	for _, want := range []FoundAs{FoundLost, FoundKnown} {
		if as, err := s.Found(ctx, bound.Unit.ID, 1, c); err != nil || as != want {
			t.Errorf("found as %d, want %d: %v", as, want, err)
		}
	}
	// A generation that the backup does not know holds the unit at it.
	c.SHA256, c.Serial = "ee", "4b"
	if as, err := s.Found(ctx, leased.Unit.ID, 3, c); err != nil || as != FoundLost {
		t.Errorf("found as %d: %v", as, err)
	}
	for id, generation := range map[string]int32{bound.Unit.ID: 1, leased.Unit.ID: 3} {
		u, err := scanUnit(s.db.Read.QueryRowContext(ctx, `SELECT `+unitColumns+` FROM units u WHERE u.unit_id = $1`, id))
		if err != nil || u.State != Held || u.Generation != generation {
			t.Errorf("unit %s: %+v %v", id, u, err)
		}
	}
}

// An order whose home never comes back after a recovery is another station's.
func TestRecoveredOrdersHaveNoHome(t *testing.T) { onBothEngines(t, testRecoveredOrdersHaveNoHome) }

func testRecoveredOrdersHaveNoHome(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	w := &situation{t: t, s: s, id: "HOME"}
	w.order("HOME", 1, 0)
	if got := w.next("bay-1"); got != "HOME-001" {
		t.Fatalf("the home got %q", got)
	}
	w.recover()
	if got := w.next("bay-2"); got != "HOME-001" {
		t.Errorf("the home is gone, and another station got %q", got)
	}
}

// What a station tells of the time before a recovery is kept, in bounds, and holds the unit
// of no station that has got it since.
func TestLateResults(t *testing.T) { onBothEngines(t, testLateResults) }

func testLateResults(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "LATE", key: "late"}
	w.order("LATE", 1, 0)
	w.recover()
	tell := func(station string, generation int32, token int) error {
		_, err := s.PutResult(t.Context(), Result{
			UnitID: w.unitID(), Generation: generation, Epoch: 1, Station: station, Outcome: OutcomeInstalled, TokenSerial: fmt.Sprint(token),
		})
		return err
	}
	want := func(state State, generation int32, kept int) {
		t.Helper()
		var n int
		w.must(s.db.Read.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM late_results`).Scan(&n))
		if u := w.unit(); u.State != state || u.Generation != generation || n != kept {
			t.Errorf("%s at generation %d, %d results kept; want %s at %d, %d", u.State, u.Generation, n, state, generation, kept)
		}
	}
	if err := tell("bay-2", 1000, 0); !isRefusal(err, StaleEpoch) {
		t.Errorf("of a generation that cannot have been: %v", err)
	}
	leases, err := w.claim()
	if err != nil || len(leases) != 1 {
		t.Fatalf("claimed %v, %v", leases, err)
	}
	w.must(tell("bay-2", 1, 0))
	w.must(bind(t, s, leases[0], "late"))
	w.must(tell("bay-2", 1+GenerationsAhead, 0))
	want(Bound, 1, 2)
	for n := 2; n < lateResults; n++ {
		w.must(tell("bay-2", 2, n))
	}
	if err := tell("bay-2", 2, lateResults); !isRefusal(err, ResultConflict) {
		t.Errorf("too many: %v", err)
	}
	w.must(tell("bay-2", 2, 2)) // one of before
	want(Bound, 1, lateResults)
	// Its own station's word counts.
	w.must(tell("bay-1", 2, 0))
	want(Held, 2, lateResults+1)
}

// While the CA may still issue for the generation that the restored store has, nothing that
// comes to light of a later one takes the unit past it: it is held at it, and goes on beyond
// both only when it is known of all what the CA did.
func TestALaterGenerationComesToLight(t *testing.T) {
	onBothEngines(t, testALaterGenerationComesToLight)
}

func testALaterGenerationComesToLight(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	lost := Certificate{PKCS7: []byte("p7"), Serial: "4b", NotAfter: time.Unix(2e9, 0), PublicKeySHA256: hexSum([]byte("lost"))}
	rows := []struct {
		name    string
		found   func(w *situation) error
		revoked int // certificates, the one of the first generation among them
		next    int32
	}{
		{"CA", func(w *situation) error {
			c := lost
			c.SHA256 = hexSum([]byte(w.id))
			_, err := s.Found(w.t.Context(), w.unitID(), 2, c)
			return err
		}, 2, 3},
		{"DOUBT", func(w *situation) error { return s.Doubt(w.t.Context(), w.unitID(), 2, "the CA knows a request") }, 1, 2},
		{"STATION", func(w *situation) error {
			_, err := s.PutResult(w.t.Context(), Result{UnitID: w.unitID(), Generation: 2, Epoch: 5, Station: "bay-1", Outcome: OutcomeInstalled, TokenSerial: "token"})
			return err
		}, 1, 3},
	}
	var all []*situation
	for _, row := range rows {
		w := &situation{t: t, s: s, skip: skip, id: row.name, key: row.name}
		w.order(w.id, 1, 0)
		w.reach(Issuing)
		all = append(all, w)
	}
	all[0].recover()
	for i, row := range rows {
		w := all[i]
		// Persons believe that it issued nothing; it is asked again, and has not decided.
		w.must(w.ask(ActionAbsent))
		w.must(w.intend())
		w.pending(time.Hour)
		w.must(row.found(w))
		d, _, err := s.RequestDecision(t.Context(), Decision{UnitID: w.unitID(), Generation: w.unit().Generation, Action: ActionReissue, RequestedBy: "p1"})
		w.must(err)
		if _, u, err := s.ApproveDecision(t.Context(), d.ID, "p2"); err != nil || u.State != Held || u.Generation != 1 {
			t.Errorf("%s: approved (%v), the unit is %s at generation %d while its CA may issue for generation 1", row.name, err, u.State, u.Generation)
		}
		skip(time.Hour)
		if task, err := s.Intend(t.Context(), w.unitID(), 1, alone); err != nil || !task.AskOnly {
			t.Errorf("%s: the CA is not asked what it did: %+v %v", row.name, task, err)
		}
		w.must(w.issued())
		wanted, err := s.Revocations(t.Context())
		if err != nil || len(wanted) != row.revoked {
			t.Errorf("%s: to be revoked: %+v (%v)", row.name, wanted, err)
		}
		for _, c := range wanted {
			if u := w.unit(); u.State != Held {
				t.Errorf("%s: it is %s before all is revoked", row.name, u.State)
			}
			_, err := s.Revoked(t.Context(), c.UnitID, c.SHA256)
			w.must(err)
		}
		if u := w.unit(); u.State != Ready || u.Generation != row.next {
			t.Errorf("%s: it is %s at generation %d, want generation %d", row.name, u.State, u.Generation, row.next)
		}
	}
}

// recover is what follows when the store was restored.
func (w *situation) recover() {
	w.t.Helper()
	w.must(w.s.BeginRecovery(w.t.Context(), 7, true))
	_, err := w.s.FinishRecovery(w.t.Context())
	w.must(err)
}
