package store

import (
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// A session that is heard of often is not written each time, and never said to be seen
// longer ago than a small part of the time after which that matters.
func TestSessionsAreSeen(t *testing.T) { onBothEngines(t, testSessionsAreSeen) }

func testSessionsAreSeen(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	session := w.session("bay-1")
	seen := func() time.Time {
		t.Helper()
		st, err := s.Station(t.Context(), "bay-1")
		w.must(err)
		return st.LastSeenAt
	}
	opened := seen()
	late := DefaultRules().SessionTTL / seenParts
	for _, row := range []struct{ skip, want time.Duration }{{late - time.Millisecond, 0}, {time.Millisecond, late}, {time.Second, late}} {
		skip(row.skip)
		_, err := s.Heartbeat(t.Context(), "bay-1", session, nil)
		w.must(err)
		if got := seen().Sub(opened); got != row.want {
			t.Errorf("after %s more it is seen %s after it was opened, want %s", row.skip, got, row.want)
		}
	}
}

// A heartbeat may name a unit twice.
func TestAUnitTwiceInAHeartbeat(t *testing.T) { onBothEngines(t, testAUnitTwiceInAHeartbeat) }

func testAUnitTwiceInAHeartbeat(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	session, _, err := s.PutSession(t.Context(), Session{Station: "bay-1", InstanceID: "bay-1", Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	leases, err := s.Claim(t.Context(), Claim{Station: "bay-1", SessionID: session.ID, KeySHA256: hexSum([]byte("bay-1")), Key: "k", Max: 1, Products: []string{"P"}})
	if err != nil || len(leases) != 1 {
		t.Fatalf("claimed %v, %v", leases, err)
	}
	b := Beat{UnitID: leases[0].Unit.ID, Epoch: leases[0].Unit.Epoch}
	pulses, err := s.Heartbeat(t.Context(), "bay-1", session.ID, []Beat{b, b})
	if err != nil || len(pulses) != 2 || pulses[0].Left != time.Minute || pulses[1].Left != time.Minute {
		t.Errorf("got %+v, %v", pulses, err)
	}
}

// Of two units to which one key is bound at the same time one gets it.
func TestAKeyIsBoundTwiceAtOnce(t *testing.T) { onBothEngines(t, testAKeyIsBoundTwiceAtOnce) }

func testAKeyIsBoundTwiceAtOnce(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	one, two := claim(t, s, "bay-1")[0], claim(t, s, "bay-1")[0]
	if err := bind(t, s, two, "of two"); err != nil { // for its escrow alone
		t.Fatal(err)
	}
	u := one.Unit
	if _, err := s.PutEscrow(t.Context(), Escrow{ID: "e", UnitID: u.ID, Epoch: u.Epoch, Station: u.Station, Sealed: []byte("e")}); err != nil {
		t.Fatal(err)
	}
	b := Binding{UnitID: u.ID, Generation: 1, Epoch: u.Epoch, Station: u.Station, CSR: []byte("c"), PublicKeySHA256: hexSum([]byte("k")), TokenSerial: "t", EscrowID: "e"}
	var meant func() error
	runs := 0
	_, _, err := s.Bind(t.Context(), b, func(Order) error {
		if runs++; runs > 1 {
			return nil
		}
		meant = meanwhile(t, s, func() error {
			return s.write(t.Context(), "bind beside", func(x *txn) error {
				return x.One(t.Context(), "write binding", `UPDATE bindings SET public_key_sha256 = $2 WHERE unit_id = $1`, two.Unit.ID, b.PublicKeySHA256)
			})
		})
		return nil
	})
	beside := meant()
	switch {
	case s.Shared() && (!isRefusal(err, KeyReused) || beside != nil || runs != 2):
		t.Errorf("bound in %d runs with %v, beside it with %v", runs, err, beside)
	case !s.Shared() && (err != nil || beside == nil):
		t.Errorf("bound with %v, beside it with %v", err, beside)
	}
}
