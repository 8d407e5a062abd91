package store

import (
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// What changes between the moment in which something was looked at and that in which it
// is used.

// meanwhile starts what another server does now, and returns once that is done or waits
// for a lock of the caller's transaction. SQLite has one transaction at a time, so there
// it comes afterwards. The returned function waits for its end.
func meanwhile(t *testing.T, s *Store, do func() error) (wait func() error) {
	t.Helper()
	if !s.Shared() {
		return do
	}
	end := make(chan error, 1)
	go func() { end <- do() }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var waits bool
		err := s.db.Read.QueryRowContext(t.Context(),
			`SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits)
		switch {
		case err != nil || time.Now().After(deadline):
			t.Fatalf("it neither ends nor waits: %v", err)
		case waits || len(end) > 0:
			return func() error { return <-end }
		}
	}
}

// A claim is judged by its station as it is now, not as it was when the claim came.
func TestClaimOfAStationThatIsNoMore(t *testing.T) { onBothEngines(t, testClaimOfAStationThatIsNoMore) }

func testClaimOfAStationThatIsNoMore(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	session := w.session("bay-1")
	c := Claim{Station: "bay-1", SessionID: session, KeySHA256: hexSum([]byte("bay-1")), Key: "k", Max: 1, Products: []string{"P"}}
	other := c
	other.KeySHA256 = hexSum([]byte("another key"))
	if leases, err := s.Claim(t.Context(), other); !isRefusal(err, NotYours) {
		t.Errorf("with a key that is not its own any more it got %v, %v", leases, err)
	}
	leases, err := s.Claim(t.Context(), c)
	if err != nil || len(leases) != 1 {
		t.Fatalf("%v, %v", leases, err)
	}
	w.must(s.RevokeStation(t.Context(), "bay-1"))
	// A repeat of what it got, and something new.
	for _, key := range []string{"k", "l"} {
		c.Key = key
		if leases, err := s.Claim(t.Context(), c); !isRefusal(err, NotYours) {
			t.Errorf("revoked, it got %v, %v", leases, err)
		}
	}
	if there, err := s.Claimable(t.Context(), c); err != nil || there {
		t.Errorf("there are units for a revoked station (%v)", err)
	}
}

// An adoption is judged by its station as it is now, too.
func TestAdoptionByAStationThatIsNoMore(t *testing.T) {
	onBothEngines(t, testAdoptionByAStationThatIsNoMore)
}

func testAdoptionByAStationThatIsNoMore(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "ADOPT", key: "adopt"}
	w.order("ADOPT", 1, 0)
	w.reach(Issued)
	a := w.adoption(w.session("bay-2"))
	other := a
	other.KeySHA256 = hexSum([]byte("another key"))
	if _, err := s.Adopt(t.Context(), other); !isRefusal(err, NotYours) {
		t.Errorf("with a key that is not its own any more: %v", err)
	}
	w.must(s.RevokeStation(t.Context(), "bay-2"))
	if _, err := s.Adopt(t.Context(), a); !isRefusal(err, NotYours) {
		t.Errorf("revoked: %v", err)
	}
	if u := w.unit(); u.Station != "bay-1" {
		t.Errorf("it is at %s", u.Station)
	}
}

// A claim that was let in is over before its station is revoked: no lease outlives that.
func TestRevokedWhileItClaims(t *testing.T) { onBothEngines(t, testRevokedWhileItClaims) }

func testRevokedWhileItClaims(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	c := Claim{Station: "bay-1", SessionID: w.session("bay-1"), KeySHA256: hexSum([]byte("bay-1")), Key: "k", Max: 1, Products: []string{"P"}}
	var revoked func() error
	w.must(s.write(t.Context(), "claim", func(x *txn) error {
		if _, err := x.askCaller(t.Context(), c.Station, c.KeySHA256, s.dialect.lockKey("st"))(); err != nil {
			return err
		}
		revoked = meanwhile(t, s, func() error { return s.RevokeStation(t.Context(), "bay-1") })
		_, _, err := x.lease(t.Context(), c, x.askCandidates(t.Context(), c), time.Minute)
		return err
	}))
	w.must(revoked())
	if u, err := s.Unit(t.Context(), "ORD-001"); err != nil || u.State != Ready || u.Epoch != 1 {
		t.Errorf("%+v, %v: a revoked station has it", u, err)
	}
}

// Of two parts that were found to be forked at once, the first says since when.
func TestForkIsNotedOnce(t *testing.T) { onBothEngines(t, testForkIsNotedOnce) }

func testForkIsNotedOnce(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	w.must(s.noteFork(t.Context(), "bay-1", "i"))
	before, err := s.Record(t.Context(), "bay-1", "i")
	w.must(err)
	skip(time.Hour)
	w.must(s.noteFork(t.Context(), "bay-1", "i"))
	after, err := s.Record(t.Context(), "bay-1", "i")
	if err != nil || before.ForkedAt.IsZero() || !after.ForkedAt.Equal(before.ForkedAt) {
		t.Errorf("forked since %v, then since %v (%v)", before.ForkedAt, after.ForkedAt, err)
	}
}

// An order that became another product since it was found is not for this station.
func TestProductChangesMeanwhile(t *testing.T) { onBothEngines(t, testProductChangesMeanwhile) }

func testProductChangesMeanwhile(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	c := Claim{Station: "bay-1", SessionID: w.session("bay-1"), Max: 1, Products: []string{"P"}}
	var leases []Lease
	var revised func() error
	w.must(s.write(t.Context(), "claim", func(x *txn) error {
		orders, err := s.candidates(t.Context(), x, c, x.now(), 9)
		if err != nil || len(orders) != 1 {
			t.Fatalf("found %v, %v", orders, err)
		}
		revised = meanwhile(t, s, func() error {
			_, err := s.PutOrder(t.Context(), Order{ID: "ORD", ProductCode: "Q", Quantity: 2, DueAt: time.Unix(1, 0), Revision: 2, FixedSHA256: "q", Content: []byte("{}")})
			return err
		})
		leases, err = x.takeAll(t.Context(), c, orders, nil, time.Minute)
		return err
	}))
	// One of them was first.
	if err := revised(); (err == nil) == (len(leases) > 0) || err != nil && !isRefusal(err, OrderConflict) {
		t.Errorf("the order was revised (%v), and %+v leased", err, leases)
	}
}
