package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// Many stations claim at once, through two servers' stores where the engine allows
// it: every unit goes out once, and every order to one station. With row locks on
// units alone most orders would be split.
func TestOrdersAreNotSplit(t *testing.T) { onBothEngines(t, testOrdersAreNotSplit) }

func testOrdersAreNotSplit(t *testing.T, at database.Place) {
	const stations, orders, quantity = 16, 40, 5
	var stores []*Store
	for range 2 {
		s, err := Open(t.Context(), at, nil, DefaultRules())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		stores = append(stores, s)
		if !s.Shared() {
			stores = append(stores, s)
			break
		}
	}
	for i := range orders {
		o := Order{ID: fmt.Sprintf("ORD-%02d", i), ProductCode: "P", Quantity: quantity, DueAt: time.Unix(int64(i), 0), Content: []byte("{}")}
		if _, err := stores[0].PutOrder(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	var sessions []Session
	for i := range stations {
		name := fmt.Sprintf("bay-%d", i)
		addStation(t, stores[0], name)
		session, _, err := stores[0].PutSession(t.Context(), Session{Station: name, InstanceID: name, Lease: 2 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, session)
	}

	var mu sync.Mutex
	units, homes := make(map[string]string), make(map[string]map[string]bool)
	var all sync.WaitGroup
	end := time.Now().Add(20 * time.Second)
	for i, session := range sessions {
		all.Go(func() {
			for n := 0; ; n++ {
				leases, err := stores[i%2].Claim(t.Context(), Claim{Station: session.Station, SessionID: session.ID, KeySHA256: hexSum([]byte(session.Station)), Key: fmt.Sprint(n), Max: 1, Products: []string{"P"}})
				if err != nil {
					t.Error(err)
					return
				}
				if len(leases) == 0 {
					// Nothing may also mean that others had a look at its order just then.
					_, left, err := stores[0].Units(t.Context(), UnitFilter{State: Ready, Limit: 1})
					if err != nil {
						t.Error(err)
					}
					if err != nil || left == 0 || time.Now().After(end) {
						return
					}
					continue
				}
				mu.Lock()
				for _, l := range leases {
					if other, taken := units[l.Unit.ID]; taken {
						t.Errorf("%s was given to %s and %s", l.Unit.ID, other, session.Station)
					}
					units[l.Unit.ID] = session.Station
					if homes[l.Order.ID] == nil {
						homes[l.Order.ID] = make(map[string]bool)
					}
					homes[l.Order.ID][session.Station] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	split := 0
	for _, at := range homes {
		if len(at) != 1 {
			split++
		}
	}
	if split > 0 || len(units) != orders*quantity {
		t.Errorf("%d of %d orders are split, %d of %d units were given out", split, orders, len(units), orders*quantity)
	}
}

// Two servers on one store: one of them asks the CA, until its hold runs out or it
// leaves; what the former owner believes of the CA no longer counts.
func TestAnIntentHasOneOwner(t *testing.T) { onBothEngines(t, testAnIntentHasOneOwner) }

func testAnIntentHasOneOwner(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	ctx := t.Context()
	one, two := Issuer{Server: "one", Hold: time.Minute}, Issuer{Server: "two", Hold: time.Minute}
	l := claim(t, s, "bay-1")[0]
	if err := bind(t, s, l, "k1"); err != nil {
		t.Fatal(err)
	}
	id := l.Unit.ID
	wantOpen := func(by Issuer, want int) {
		t.Helper()
		if units, err := s.Unissued(ctx, by); err != nil || len(units) != want {
			t.Errorf("server %s finds %d units to get certificates for, want %d: %v", by.Server, len(units), want, err)
		}
	}
	wantOpen(one, 1)
	wantOpen(two, 1)
	if task, err := s.Intend(ctx, id, 1, one); err != nil || !task.Fresh {
		t.Fatalf("the first intent: %+v %v", task, err)
	}
	wantOpen(one, 1)
	wantOpen(two, 0)
	if _, err := s.Intend(ctx, id, 1, two); !isRefusal(err, Busy) {
		t.Errorf("a second server may ask the CA at the same time: %v", err)
	}
	skip(61 * time.Second)
	wantOpen(two, 1)
	if task, err := s.Intend(ctx, id, 1, two); err != nil || task.Fresh {
		t.Errorf("the hold has run out: %+v %v", task, err)
	}
	_, absent := s.Absent(ctx, id, 1, one)
	for what, err := range map[string]error{
		"unknown": s.Unknown(ctx, id, 1, one, "timed out"), "absent": absent, "refused": s.RefusedByCA(ctx, id, 1, one, "no"),
	} {
		if !isRefusal(err, Busy) {
			t.Errorf("the former owner wrote down %s: %v", what, err)
		}
	}
	if err := s.LeaveIntents(ctx, one); err != nil {
		t.Fatal(err)
	}
	wantOpen(one, 0)
	if err := s.LeaveIntents(ctx, two); err != nil {
		t.Fatal(err)
	}
	wantOpen(one, 1)
	// A certificate is a fact, whoever brings it.
	if _, err := s.Intend(ctx, id, 1, two); err != nil {
		t.Fatal(err)
	}
	if err := s.Issued(ctx, id, 1, Certificate{PKCS7: []byte("p7"), Serial: "4a", SHA256: "ff", NotAfter: time.Now()}); err != nil {
		t.Error(err)
	}
}

// Twenty servers want the same intent at the same time; one gets it.
func TestOneOfManyGetsAnIntent(t *testing.T) { onBothEngines(t, testOneOfManyGetsAnIntent) }

func testOneOfManyGetsAnIntent(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	l := claim(t, s, "bay-1")[0]
	if err := bind(t, s, l, "k1"); err != nil {
		t.Fatal(err)
	}
	const servers = 20
	got := make([]error, servers)
	var all sync.WaitGroup
	for i := range servers {
		all.Go(func() {
			_, got[i] = s.Intend(t.Context(), l.Unit.ID, 1, Issuer{Server: fmt.Sprint(i), Hold: time.Minute})
		})
	}
	all.Wait()
	won := 0
	for _, err := range got {
		if err == nil {
			won++
		} else if !isRefusal(err, Busy) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d servers got the intent", won)
	}
}

func TestServersAgree(t *testing.T) { onBothEngines(t, testServersAgree) }

func testServersAgree(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	for _, row := range []struct {
		sum  string
		want bool
	}{{"aa", true}, {"aa", true}, {"bb", false}} {
		if same, err := s.Agree(t.Context(), "station root", row.sum); err != nil || same != row.want {
			t.Errorf("%s: %t %v, want %t", row.sum, same, err, row.want)
		}
	}
}

// Another CA is not taken up while anything that the one before did is not known,
// whatever became of the unit.
func TestAnotherCAWaits(t *testing.T) { onBothEngines(t, testAnotherCAWaits) }

func testAnotherCAWaits(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	use := func(digest string, want int) {
		t.Helper()
		if n, err := s.UseCA(t.Context(), digest); err != nil || n != want {
			t.Errorf("%s finds %d units that wait for another one, want %d (%v)", digest, n, want, err)
		}
	}
	use("old", 0)
	for name, leave := range map[string]func(w *situation){
		"ISSUING":    func(*situation) {},
		"STRANDED":   (*situation).strand,
		"HELD":       func(w *situation) { w.must(w.result("faulty")) },
		"CANCELLING": func(w *situation) { w.must(w.cancel()); w.must(w.result("destroyed")) },
	} {
		w := &situation{t: t, s: s, skip: skip, id: "CA-" + name, key: name, by: Issuer{Server: "alone", CA: "old"}}
		w.order(w.id, 1, 0)
		w.reach(Bound)
		use("old", 0)
		w.must(w.intend())
		leave(w)
		if u := w.unit(); string(u.State) != name {
			t.Fatalf("the unit is %s, want %s", u.State, name)
		}
		use("old", 0)
		use("new", 1)
		w.must(w.issued())
	}
	use("new", 0)
	use("old", 0)
}

// Of servers with two CAs only those ask whose CA is the one in use.
func TestOneCAIsAsked(t *testing.T) { onBothEngines(t, testOneCAIsAsked) }

func testOneCAIsAsked(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "ONE", key: "one", by: Issuer{Server: "first", CA: "old"}}
	w.order("ONE", 1, 0)
	for _, digest := range []string{"old", "new"} {
		_, err := s.UseCA(t.Context(), digest)
		w.must(err)
	}
	w.reach(Bound)
	if err := w.intend(); !errors.Is(err, ErrAnotherCA) {
		t.Errorf("a server asks a CA that is not in use any more: %v", err)
	}
	w.by = Issuer{Server: "second", CA: "new"}
	w.must(w.intend())
}

// A CA that is taken up while the one before is about to be asked has to wait for that.
func TestAnotherCAWhileOneIsAsked(t *testing.T) { onBothEngines(t, testAnotherCAWhileOneIsAsked) }

func testAnotherCAWhileOneIsAsked(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "RACE", key: "race"}
	w.order("RACE", 1, 0)
	_, err := s.UseCA(t.Context(), "old")
	w.must(err)
	w.reach(Bound)
	var outstanding int
	var used func() error
	w.must(s.write(t.Context(), "intend", func(x *txn) error {
		if err := x.askCA(t.Context(), "old")(); err != nil {
			return err
		}
		used = meanwhile(t, s, func() (err error) {
			outstanding, err = s.UseCA(t.Context(), "new")
			return err
		})
		u, err := x.unit(t.Context(), w.unitID())
		if err != nil {
			return err
		}
		_, err = x.advance(t.Context(), u, EventIntend, "test", nil)
		return err
	}))
	w.must(used())
	if outstanding != 1 {
		t.Errorf("the new CA finds %d units that wait for the old one", outstanding)
	}
}

// Of two servers that had a certificate revoked, or a server and persons, the first is on record.
func TestARevocationIsNotedOnce(t *testing.T) { onBothEngines(t, testARevocationIsNotedOnce) }

func testARevocationIsNotedOnce(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "TWICE", key: "twice"}
	w.order("TWICE", 1, 0)
	if _, err := s.Revoked(t.Context(), w.unitID(), w.certificate().SHA256); err == nil {
		t.Error("what nobody wants revoked is noted")
	}
	w.reach(Held)
	w.must(w.ask(ActionRevoked))
	before, err := s.History(t.Context(), w.unitID())
	w.must(err)
	first := w.unit().RevokedAt
	skip(time.Hour)
	u, err := s.Revoked(t.Context(), w.unitID(), w.certificate().SHA256)
	if err != nil || u.State != Held {
		t.Errorf("the second server is told %s, %v", u.State, err)
	}
	after, err := s.History(t.Context(), w.unitID())
	var by string
	w.must(errors.Join(err, s.db.Read.QueryRowContext(t.Context(), `SELECT revoked_by FROM revocations`).Scan(&by)))
	if got := w.unit().RevokedAt; len(after) != len(before) || first.IsZero() || !got.Equal(first) || by != "p1 and p2" {
		t.Errorf("revoked at %s by p1 and p2, then at %s by %s; %d events, then %d", first, got, by, len(before), len(after))
	}
}
