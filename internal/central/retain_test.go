package central_test

import (
	"database/sql"
	"net/http"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// A parcel comes back after the personal data of its order are gone. Its certificate
// can still be revoked, and nothing of the persons is there any more.
func TestAParcelThatComesBackLateIsRevoked(t *testing.T) {
	onBothEngines(t, testAParcelThatComesBackLateIsRevoked)
}

func testAParcelThatComesBackLateIsRevoked(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, func(c *central.Config) { c.RetainDays = 30 })
	w := r.station("bay-1").one("LATE").issued()
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	w.anchor()
	must[api.UnitState](t, w.send("PUT", "/units/LATE-001/shipment", api.ShipmentRequest{
		Generation: 1, Waybill: "SF0000000001", Scans: []api.TokenSerial{w.csr.TokenSerial}, PackedBy: "packer-1",
	}), http.StatusOK)
	r.clock.advance(31 * 24 * time.Hour)
	if err := r.srv.RemovePersonalData(t.Context()); err != nil {
		t.Fatal(err)
	}
	o, err := r.admin.Order(t.Context(), "LATE")
	if err != nil || o.PersonalDataRemovedAt == nil {
		t.Fatalf("the personal data are still here: %+v %v", o, err)
	}
	if u := r.unit("LATE-001"); u.Subject != nil {
		t.Errorf("the subject is still here: %s", *u.Subject)
	}
	if _, err := r.admin.Return(t.Context(), "LATE-001", api.ReturnRequest{Operator: "p1", Reason: "refused at the door"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin.Cancel(t.Context(), "LATE", api.CancelRequest{Operator: "p1", Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	if u := r.waitState("LATE-001", api.CANCELLED); u.RevokedAt == nil {
		t.Errorf("its certificate is not revoked: %+v", u)
	}
}

// What is remembered of a claim is forgotten in a plant where no lease runs out, too.
func TestClaimsAreForgotten(t *testing.T) {
	t.Parallel()
	url := withStore(t)
	db, err := database.ParsePostgres(url)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(*testing.T) database.Postgres { return db }, nil)
	w := r.station("bay-1").one("CLAIMED").issued()
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	look, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = look.Close() }()
	want := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			var n int
			if err := look.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM usbkey_central.claim_keys`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d claims are remembered, want %d", n, want)
			}
		}
	}
	for _, row := range []struct {
		skip time.Duration
		want int
	}{{23 * time.Hour, 1}, {2 * time.Hour, 0}} {
		r.clock.advance(row.skip)
		r.stop()
		r.start(nil) // which looks at once, and then every hour
		want(row.want)
	}
}
