package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

func (w *situation) order(id string, quantity int, due time.Duration) {
	w.t.Helper()
	_, err := w.s.PutOrder(w.t.Context(), Order{ID: id, ProductCode: w.id, Quantity: quantity, DueAt: time.Unix(1, 0).Add(due), Content: []byte(id)})
	w.must(err)
}

func (w *situation) next(station string) string {
	w.t.Helper()
	session := w.session(station)
	leases, err := w.s.Claim(w.t.Context(), Claim{Station: station, SessionID: session, KeySHA256: hexSum([]byte(station)), Key: session, Max: 1, Products: []string{w.id}})
	w.must(err)
	if len(leases) == 0 {
		return ""
	}
	return leases[0].Unit.ID
}

// Urgent orders go first, then those that are due first; held and cancelled ones give
// nothing; an order stays at home until its home gets no units.
func TestWhatIsGivenOutFirst(t *testing.T) { onBothEngines(t, testWhatIsGivenOutFirst) }

func testWhatIsGivenOutFirst(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "FIRST"}
	w.order("LATE", 2, 2*time.Hour)
	w.order("SOON", 1, time.Hour)
	w.order("URGENT", 1, 9*time.Hour)
	w.order("HELD", 1, 0)
	w.order("OVER", 1, 0)
	w.must(s.FlagOrder(t.Context(), "URGENT", false, true))
	w.must(s.FlagOrder(t.Context(), "HELD", true, true))
	_, err := s.Cancel(t.Context(), Cancellation{OrderID: "OVER", Operator: "p1", Reason: "test"})
	w.must(err)
	for i, want := range []string{"URGENT-001", "SOON-001", "LATE-001"} {
		if got := w.next("bay-1"); got != want {
			t.Errorf("claim %d got %q, want %s", i, got, want)
		}
	}
	if got := w.next("bay-2"); got != "" {
		t.Errorf("another station got %s, whose home lives", got)
	}
	_, err = s.DrainStation(t.Context(), "bay-1", true)
	w.must(err)
	if got := w.next("bay-1"); got != "" {
		t.Errorf("a drained station got %s", got)
	}
	if got := w.next("bay-2"); got != "LATE-002" {
		t.Errorf("the home is drained, and another station got %q", got)
	}
	w.must(s.FlagOrder(t.Context(), "HELD", false, false))
	if got := w.next("bay-2"); got != "HELD-001" {
		t.Errorf("released, but got %q", got)
	}
}

// One claim takes several orders of one absent home, best first among all homes. Each
// way to be absent counts; a home that is there keeps what it has.
func TestOrdersOfAbsentHomes(t *testing.T) { onBothEngines(t, testOrdersOfAbsentHomes) }

func testOrdersOfAbsentHomes(t *testing.T, at database.Place) {
	for _, absence := range []string{"silent", "revoked", "drained", "tripped", "none"} {
		t.Run(absence, func(t *testing.T) {
			s, skip := newStore(t, at)
			w := &situation{t: t, s: s, skip: skip, id: "GONE-" + absence}
			id := func(name string) string { return absence + "-" + name }
			w.order(id("a"), 2, time.Hour)
			w.order(id("c"), 2, 3*time.Hour)
			home := "home-" + absence
			addStation(t, s, home)
			for _, name := range []string{"a", "c"} {
				if got := w.next(home); got != id(name)+"-001" {
					t.Fatalf("the home got %q", got)
				}
				w.must(s.FlagOrder(t.Context(), id(name), true, false))
			}
			for _, name := range []string{"a", "c"} {
				w.must(s.FlagOrder(t.Context(), id(name), false, false))
			}
			w.order(id("b"), 1, 2*time.Hour)
			var err error
			switch absence {
			case "silent":
				skip(DefaultRules().HomeGrace + time.Second)
			case "revoked":
				err = s.RevokeStation(t.Context(), home)
			case "drained":
				_, err = s.DrainStation(t.Context(), home, true)
			case "tripped":
				err = s.write(t.Context(), "trip", func(x *txn) error {
					return x.One(t.Context(), "trip", `UPDATE stations SET tripped_until = $2 WHERE name = $1`, home, x.now()+60000)
				})
			}
			w.must(err)
			session := w.session("bay-2")
			leases, err := s.Claim(t.Context(), Claim{Station: "bay-2", SessionID: session, KeySHA256: hexSum([]byte("bay-2")), Key: session, Max: 9, Products: []string{w.id}})
			w.must(err)
			var got []string
			for _, l := range leases {
				if l.Order.HomeStation != "bay-2" || l.Left == 0 {
					t.Errorf("%s is at %q for %s", l.Unit.ID, l.Order.HomeStation, l.Left)
				}
				got = append(got, l.Unit.ID)
			}
			slices.Sort(got)
			want := []string{id("a") + "-002", id("b") + "-001", id("c") + "-002"}
			switch absence {
			case "none":
				want = []string{id("b") + "-001"}
			case "silent", "revoked": // its leases are over too
				want = []string{id("a") + "-001", id("a") + "-002", id("b") + "-001", id("c") + "-001", id("c") + "-002"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// A station whose units fail gets none for a while, and then one failure is enough.
func TestABreakerTrips(t *testing.T) { onBothEngines(t, testABreakerTrips) }

func testABreakerTrips(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "BREAK"}
	w.order("BREAK", 9, 0)
	failOnce := func() {
		t.Helper()
		id := w.next("bay-1")
		u, err := s.Unit(t.Context(), id)
		w.must(err)
		_, err = s.Release(t.Context(), "bay-1", Release{UnitID: id, Epoch: u.Epoch, Reason: "token faulty", Failed: true})
		w.must(err)
	}
	for range DefaultRules().BreakerFailures {
		failOnce()
	}
	if got := w.next("bay-1"); got != "" {
		t.Errorf("its breaker is open and it got %s", got)
	}
	skip(DefaultRules().BreakerPause + time.Second)
	failOnce()
	if got := w.next("bay-1"); got != "" {
		t.Errorf("it failed again after the pause and got %s", got)
	}
	st, err := s.ResetStation(t.Context(), "bay-1")
	if err != nil || st.Failures != 0 || !st.TrippedUntil.IsZero() {
		t.Errorf("reset: %+v %v", st, err)
	}
	if got := w.next("bay-1"); got == "" {
		t.Error("reset, it got nothing")
	}
}

// An event names the token and the certificate that its unit has.
func TestEventsNameTokenAndCertificate(t *testing.T) {
	onBothEngines(t, func(t *testing.T, at database.Place) {
		s, skip := newStore(t, at)
		w := &situation{t: t, s: s, skip: skip, id: "NAMED", key: "named"}
		w.order("NAMED", 1, 0)
		w.reach(Installed)
		b, _, err := binding(t.Context(), s.db.Read, w.unitID(), 1)
		w.must(err)
		events, err := s.Events(t.Context(), 0, 100)
		w.must(err)
		var told []EventKind
		for _, e := range events {
			told = append(told, e.Kind)
			if b.TokenSerial == "" || e.TokenSerial != b.TokenSerial || e.CertificateSerial != b.Certificate.Serial {
				t.Errorf("%s is told of token %q and certificate %q", e.Kind, e.TokenSerial, e.CertificateSerial)
			}
		}
		if !slices.Equal(told, []EventKind{KindIssued, KindInstalled}) {
			t.Errorf("told %v", told)
		}
	})
}

// Events are numbered without a gap in the order in which they happened, and an order
// that nobody can make is told once.
func TestEventsAreOrdered(t *testing.T) { onBothEngines(t, testEventsAreOrdered) }

func testEventsAreOrdered(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "TOLD", key: "told"}
	w.order("TOLD", 1, 0)
	w.reach(Shipped)
	_, err := s.Return(t.Context(), "TOLD-001", "p1", "test")
	w.must(err)
	w.must(w.cancel())
	w.must(w.ask(ActionRevoked))
	var kinds []EventKind
	var last int64
	for {
		events, err := s.Events(t.Context(), last, 2)
		w.must(err)
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if e.Sequence != last+1 {
				t.Errorf("event %d comes after %d", e.Sequence, last)
			}
			last = e.Sequence
			kinds = append(kinds, e.Kind)
		}
	}
	if want := []EventKind{KindIssued, KindInstalled, KindShipped, KindHeld, KindCancelled}; !slices.Equal(kinds, want) {
		t.Errorf("told %v, want %v", kinds, want)
	}
	skip(2 * time.Hour)
	for range 2 {
		_, err := s.FindBlocked(t.Context())
		w.must(err)
	}
	events, err := s.Events(t.Context(), last, 10)
	if err != nil || len(events) != 1 || events[0].Kind != KindBlocked || events[0].OrderID != "ORD" {
		t.Errorf("nobody is there to make ORD, and that is told as %+v (%v)", events, err)
	}
}

// Fewer units: only what nobody has is dropped. What was leased fixes the rest.
func TestRevisions(t *testing.T) { onBothEngines(t, testRevisions) }

func testRevisions(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "REV"}
	put := func(revision, quantity int, fixed string) (Revised, error) {
		return s.PutOrder(t.Context(), Order{
			ID: "REV", ProductCode: "REV", Quantity: quantity, DueAt: time.Unix(1, 0), Revision: revision, FixedSHA256: fixed,
			Content: []byte(strings.Repeat("x", quantity) + fixed),
		})
	}
	conflict := func(what string, err error) {
		t.Helper()
		if !isRefusal(err, OrderConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := put(1, 3, "a")
	w.must(err)
	out, err := put(2, 4, "b")
	if err != nil || !out.Changed || out.Created {
		t.Errorf("before the first lease: %+v %v", out, err)
	}
	w.next("bay-1")
	_, err = put(1, 4, "b")
	conflict("a lower revision", err)
	_, err = put(2, 3, "b")
	conflict("the same revision with other content", err)
	_, err = put(3, 4, "c")
	conflict("another product after the first lease", err)
	_, err = put(3, 5, "b")
	conflict("more units after the first lease", err)
	out, err = put(3, 2, "b")
	if err != nil || !slices.Equal(out.Dropped, []string{"REV-004", "REV-003"}) {
		t.Errorf("fewer units: %+v %v", out, err)
	}
	w.next("bay-1")
	if out, err = put(4, 1, "b"); err != nil || len(out.Dropped) != 0 {
		t.Errorf("a leased unit is dropped: %+v %v", out, err)
	}
	if out, err = put(4, 1, "b"); err != nil || out.Changed {
		t.Errorf("the same again: %+v %v", out, err)
	}
}

// After a recovery, too, an order may become another one until a unit of it is leased.
func TestRevisionsAfterARecovery(t *testing.T) { onBothEngines(t, testRevisionsAfterARecovery) }

func testRevisionsAfterARecovery(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "REV"}
	put := func(id string, revision int) error {
		fixed := fmt.Sprint(revision)
		_, err := s.PutOrder(t.Context(), Order{
			ID: id, ProductCode: "REV", Quantity: 1, DueAt: time.Unix(1, 0), Revision: revision, FixedSHA256: fixed, Content: []byte(fixed),
		})
		return err
	}
	w.must(put("GONE", 1))
	if got := w.next("bay-1"); got != "GONE-001" {
		t.Fatalf("got %q", got)
	}
	w.must(put("BEFORE", 1))
	w.recover()
	w.must(put("AFTER", 1))
	for _, id := range []string{"BEFORE", "AFTER"} {
		if err := put(id, 2); err != nil {
			t.Errorf("an order that nobody ever leased: %v", err)
		}
	}
	if err := put("GONE", 2); !isRefusal(err, OrderConflict) {
		t.Errorf("one that was leased before the recovery: %v", err)
	}
}

// clean stands for what the server makes of personal data.
var clean = Reader{
	Clean:  func([]byte) ([]byte, error) { return []byte("clean"), nil },
	Issuer: func(pkcs7 []byte, _ string) ([]byte, error) { return append([]byte("issuer of "), pkcs7...), nil },
}

// Personal data go once an order is done with for long enough, and nothing else does.
func TestPersonalDataAreRemoved(t *testing.T) { onBothEngines(t, testPersonalDataAreRemoved) }

func testPersonalDataAreRemoved(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip, id: "OLD", key: "old"}
	w.order("OLD", 1, 0)
	w.reach(Issuing)
	w.pending(time.Second)
	for _, err := range []error{w.issued(), w.result(OutcomeInstalled), w.ship()} {
		w.must(err)
	}
	skip(29 * 24 * time.Hour)
	if n, err := s.ClearPersonalData(t.Context(), 30*24*time.Hour, clean); n != 0 || err != nil {
		t.Errorf("too early: %d %v", n, err)
	}
	skip(48 * time.Hour)
	for i := range 2 {
		if n, err := s.ClearPersonalData(t.Context(), 30*24*time.Hour, clean); n != 1-i || err != nil {
			t.Errorf("round %d: %d orders, %v", i, n, err)
		}
	}
	o, err := s.Order(t.Context(), "OLD")
	if err != nil || string(o.Content) != "clean" || o.ClearedAt.IsZero() {
		t.Errorf("the order: %q %v", o.Content, err)
	}
	b, _, err := binding(t.Context(), s.db.Read, "OLD-001", 1)
	if err != nil || len(b.CSR) != 0 || len(b.Certificate.PKCS7) != 0 || b.Certificate.Subject != "" || b.Certificate.SHA256 != w.certificate().SHA256 {
		t.Errorf("the binding: %+v %v", b, err)
	}
	if said, err := s.db.Read.QueryContext(t.Context(), `SELECT why FROM waits WHERE why <> ''`); err != nil || said.Next() || said.Close() != nil {
		t.Errorf("what the CA said is still here (%v)", err)
	}
	_, err = s.Return(t.Context(), "OLD-001", "p1", "test")
	w.must(err)
	w.must(w.cancel())
	wanted, err := s.Revocations(t.Context())
	if err != nil || len(wanted) != 1 || wanted[0].PKCS7 != nil || string(wanted[0].Issuer) != "issuer of p7" {
		t.Errorf("what is to be revoked of it: %+v %v", wanted, err)
	}
	if o, err = s.Order(t.Context(), "ORD"); err != nil || string(o.Content) == "clean" {
		t.Errorf("an order that is not done with is cleared: %v", errors.Join(err))
	}
}

// What comes to an order after its personal data were removed goes when it is old, too.
func TestLatePersonalDataAreRemoved(t *testing.T) { onBothEngines(t, testLatePersonalDataAreRemoved) }

func testLatePersonalDataAreRemoved(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	const month, day = 30 * 24 * time.Hour, 24 * time.Hour
	clear := func(what string, want int) {
		t.Helper()
		if n, err := s.ClearPersonalData(t.Context(), month, clean); n != want || err != nil {
			t.Errorf("%s: %d orders, %v; want %d", what, n, err, want)
		}
	}
	for name, late := range map[string]func(w *situation) error{
		"certificate": (*situation).issued,
		"surplus": func(w *situation) error {
			c := w.certificate()
			c.SHA256 = hexSum([]byte("second of " + w.key))
			err := s.Issued(t.Context(), w.unitID(), 1, c)
			var twice *TwiceError
			if errors.As(err, &twice) {
				return nil
			}
			return fmt.Errorf("a second certificate is told as %w", err)
		},
	} {
		w := &situation{t: t, s: s, skip: skip, id: strings.ToUpper(name), key: name}
		w.order(w.id, 1, 0)
		w.reach(Issuing)
		w.must(w.cancel())
		w.must(w.result("destroyed"))
		if name == "surplus" {
			w.must(w.issued())
			_, err := s.Revoked(t.Context(), w.unitID(), w.certificate().SHA256)
			w.must(err)
		}
		_, err := s.Absent(t.Context(), w.unitID(), 1, alone)
		w.must(err)
		skip(month)
		clear(name+": at first", 1)
		skip(-time.Millisecond) // it began before, and was written after
		w.must(late(w))
		skip(month - day)
		clear(name+": too early", 0)
		skip(2 * day)
		clear(name+": then", 1)
		clear(name+": again", 0)
		var left int
		w.must(s.db.Read.QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM bindings WHERE subject <> '' OR pkcs7 IS NOT NULL)
			+ (SELECT COUNT(*) FROM surplus_certificates WHERE pkcs7 IS NOT NULL) + (SELECT COUNT(*) FROM units WHERE held_reason <> '')`).Scan(&left))
		if left != 0 {
			t.Errorf("%s: still here", name)
		}
	}
}
