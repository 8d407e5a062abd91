package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
)

// alone is the only server of a store.
var alone = Issuer{Server: "alone"}

// onBothEngines runs a test on an empty SQLite file and an empty PostgreSQL schema.
func onBothEngines(t *testing.T, test func(t *testing.T, at database.Place)) {
	t.Run("SQLite", func(t *testing.T) { test(t, database.File(filepath.Join(t.TempDir(), "central.db"))) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgres(t)) })
}

func postgres(t *testing.T) database.Place {
	t.Helper()
	db, err := database.ParsePostgres(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	return db.Schema("store")
}

// newStore opens a store with two stations and one order of two units; skip moves its clock.
func newStore(t *testing.T, at database.Place) (s *Store, skip func(time.Duration)) {
	t.Helper()
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	s, err := Open(t.Context(), at, func() time.Time { return now }, DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"bay-1", "bay-2"} {
		addStation(t, s, name)
	}
	if _, err := s.PutOrder(t.Context(), Order{ID: "ORD", ProductCode: "P", Company: "甲", Quantity: 2, DueAt: now, Content: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	return s, func(d time.Duration) { now = now.Add(d) }
}

func addStation(t *testing.T, s *Store, name string) {
	t.Helper()
	_, err := s.PutStation(t.Context(), name, hexSum([]byte(name)), func(_ string, now time.Time) ([]byte, time.Time, error) {
		return []byte("certificate of " + name), now.AddDate(1, 0, 0), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func claim(t *testing.T, s *Store, station string) []Lease {
	t.Helper()
	session, _, err := s.PutSession(t.Context(), Session{Station: station, InstanceID: station, Lease: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	leases, err := s.Claim(t.Context(), Claim{Station: station, SessionID: session.ID, KeySHA256: hexSum([]byte(station)), Key: session.ID, Max: 1, Products: []string{"P"}})
	if err != nil {
		t.Fatal(err)
	}
	return leases
}

// anyOrder fits every request.
func anyOrder(Order) error { return nil }

func bind(t *testing.T, s *Store, l Lease, key string) error {
	t.Helper()
	id := "escrow-" + l.Unit.ID + key
	_, err := s.PutEscrow(t.Context(), Escrow{ID: id, UnitID: l.Unit.ID, Epoch: l.Unit.Epoch, Station: l.Unit.Station, Sealed: []byte(id)})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Bind(t.Context(), Binding{
		UnitID: l.Unit.ID, Generation: l.Unit.Generation, Epoch: l.Unit.Epoch, Station: l.Unit.Station,
		CSR: []byte("request of " + key), PublicKeySHA256: hexSum([]byte(key)), TokenSerial: "token-" + key, EscrowID: id,
	}, anyOrder)
	return err
}

func TestHistoryTellsEverything(t *testing.T) { onBothEngines(t, testHistoryTellsEverything) }

func testHistoryTellsEverything(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	ctx := t.Context()
	claim(t, s, "bay-1")
	skip(3 * time.Minute)
	if n, err := s.Sweep(ctx); err != nil || n != 1 {
		t.Fatalf("sweep: %d %v", n, err)
	}
	l := claim(t, s, "bay-1")[0]
	if err := bind(t, s, l, "k1"); err != nil {
		t.Fatal(err)
	}
	task, err := s.Intend(ctx, l.Unit.ID, 1, alone)
	if err != nil || !task.Fresh || task.Binding.RequestID != "ORD-001-g1" {
		t.Fatalf("intend: %+v %v", task, err)
	}
	if task, err = s.Intend(ctx, l.Unit.ID, 1, alone); err != nil || task.Fresh {
		t.Errorf("the second intent claims to be the first: %+v %v", task, err)
	}
	if err := s.Unknown(ctx, l.Unit.ID, 1, alone, "timed out"); err != nil {
		t.Fatal(err)
	}
	skip(73 * time.Hour)
	if _, err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	// Stranded, it still learns what the CA did.
	if _, err := s.Absent(ctx, l.Unit.ID, 1, alone); err != nil {
		t.Fatal(err)
	}
	c := Certificate{PKCS7: []byte("p7"), Serial: "4a", SHA256: "ff", NotAfter: time.Now()}
	for range 2 {
		if err := s.Issued(ctx, l.Unit.ID, 1, c); err != nil {
			t.Fatal(err)
		}
	}
	c.SHA256, c.Serial = "ee", "4b"
	if err := s.Issued(ctx, l.Unit.ID, 1, c); err == nil || !strings.Contains(err.Error(), "issued twice") {
		t.Errorf("a second certificate raised no alarm: %v", err)
	}
	_, err = s.PutResult(ctx, Result{
		UnitID: l.Unit.ID, Generation: 1, Epoch: l.Unit.Epoch, Station: "bay-1", Outcome: OutcomeInstalled, TokenSerial: "token-k1",
		EscrowID: "escrow-ORD-001k1", CertificateSerial: "4a", CertificateSHA256: "ff", SealedUserPIN: []byte("sealed"),
	})
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != ResultMismatch || len(refusal.Fields) != 1 || refusal.Fields[0].Name != "keyId" {
		t.Errorf("a result without key id: %v", err)
	}

	history, err := s.History(ctx, l.Unit.ID)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range history {
		got = append(got, fmt.Sprintf("%d %s %s>%s %s", h.Epoch, h.Event, h.From, h.To, h.Station))
	}
	want := []string{
		"1 claim READY>LEASED bay-1", "1 lease-expired LEASED>READY bay-1",
		"2 claim READY>LEASED bay-1", "2 bind LEASED>BOUND bay-1", "2 intend BOUND>ISSUING bay-1", "2 unknown ISSUING>ISSUE_UNKNOWN bay-1",
		"2 custody-expired ISSUE_UNKNOWN>STRANDED bay-1", "2 absent STRANDED>STRANDED bay-1", "2 issued STRANDED>STRANDED bay-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPublicKeyIsBoundOnce(t *testing.T) { onBothEngines(t, testAPublicKeyIsBoundOnce) }

func testAPublicKeyIsBoundOnce(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	first, second := claim(t, s, "bay-1")[0], claim(t, s, "bay-1")[0]
	if err := bind(t, s, first, "k1"); err != nil {
		t.Fatal(err)
	}
	if err := bind(t, s, second, "k1"); !isRefusal(err, KeyReused) {
		t.Errorf("the key again: %v", err)
	}
	// A refusal leaves nothing behind: the unit takes another key.
	if err := bind(t, s, second, "k2"); err != nil {
		t.Error(err)
	}
}

// A change that is refused or fails is not half done, and its history neither.
func TestRefusedChangesLeaveNoTrace(t *testing.T) { onBothEngines(t, testRefusedChangesLeaveNoTrace) }

func testRefusedChangesLeaveNoTrace(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	ctx := t.Context()
	before, err := s.Unit(ctx, "ORD-001")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Release(ctx, "bay-1", Release{UnitID: "ORD-001", Epoch: 0}); !isRefusal(err, StaleEpoch) {
		t.Errorf("release of a unit that nobody has: %v", err)
	}
	if _, err := s.Intend(ctx, "ORD-001", 1, alone); !isRefusal(err, WrongState) {
		t.Errorf("intent without a binding: %v", err)
	}
	after, err := s.Unit(ctx, "ORD-001")
	if err != nil || after.version != before.version {
		t.Errorf("the unit changed: %+v %v", after, err)
	}
	if h, err := s.History(ctx, "ORD-001"); err != nil || len(h) != 0 {
		t.Errorf("history: %v %v", h, err)
	}
}

func TestReopenKeepsEverything(t *testing.T) { onBothEngines(t, testReopenKeepsEverything) }

func testReopenKeepsEverything(t *testing.T, at database.Place) {
	for i := range 2 {
		s, err := Open(t.Context(), at, time.Now, DefaultRules())
		if err != nil {
			t.Fatal(err)
		}
		created, err := s.PutOrder(t.Context(), Order{ID: "ORD", Quantity: 1, DueAt: time.Unix(1, 0), Content: []byte("{}")})
		if err != nil || created.Created != (i == 0) {
			t.Errorf("open %d: created %t, %v", i, created.Created, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
