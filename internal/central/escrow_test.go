package central_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

// The recovery officer finds the SO PIN of a token by its serial, newest first, and gets
// the envelope as the station sent it.
func TestEscrowsForTheOfficer(t *testing.T) { onBothEngines(t, testEscrowsForTheOfficer) }

func testEscrowsForTheOfficer(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	w := s.one("OFFICER").issued()
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	other := s.one("OTHER").escrowed()

	all, err := r.admin.Escrows(t.Context(), "", "")
	if err != nil || len(all) != 2 || all[0].EscrowId != other.escrowID || all[1].EscrowId != w.escrowID {
		t.Fatalf("escrows, newest first: %+v (%v)", all, err)
	}
	for _, by := range [][2]string{{w.csr.TokenSerial, ""}, {"", "OFFICER-001"}} {
		found, err := r.admin.Escrows(t.Context(), by[0], by[1])
		if err != nil || len(found) != 1 {
			t.Fatalf("by %v: %+v (%v)", by, found, err)
		}
		if got := found[0]; got.EscrowId != w.escrowID || got.UnitId != "OFFICER-001" || got.Station != "bay-1" || got.Epoch != 1 ||
			got.TokenSerial == nil || *got.TokenSerial != w.csr.TokenSerial || !cmp.Equal(got.Recipients, w.escrow.Recipients) || got.CreatedAt.IsZero() {
			t.Errorf("by %v: %+v", by, got)
		}
	}
	if none, err := r.admin.Escrows(t.Context(), "no such token", ""); err != nil || len(none) != 0 {
		t.Errorf("%+v (%v)", none, err)
	}
	der, err := r.admin.SealedSOPIN(t.Context(), w.escrowID)
	if err != nil || string(der) != string(w.escrow.SealedSoPin) {
		t.Errorf("another envelope came (%v)", err)
	}
	if der, err := r.admin.SealedSOPIN(t.Context(), uuid.NewString()); err == nil {
		t.Errorf("an escrow that is not there: %x", der)
	}
}

// A station hears only of its own tokens that they have left, and only while they are gone.
func TestShipped(t *testing.T) { onBothEngines(t, testShipped) }

func testShipped(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s, thief := r.station("bay-1"), r.station("bay-2")
	gone, here, bound := s.one("GONE").issued(), s.one("HERE").issued(), s.one("BOUND").issued()
	for _, w := range []*work{gone, here} {
		must[api.UnitState](t, w.putResult(), http.StatusOK)
	}
	finished := func(w *work) api.FinishedUnit {
		return api.FinishedUnit{UnitId: w.lease.UnitId, Generation: w.lease.Generation, TokenSerial: w.csr.TokenSerial}
	}
	question := []api.FinishedUnit{finished(gone), finished(here), finished(bound), {UnitId: "NOWHERE-001", Generation: 1, TokenSerial: "x"}}
	ask := func(by *station, units ...api.FinishedUnit) []api.FinishedUnit {
		t.Helper()
		return must[api.ShippedAnswer](t, by.send("POST", "/shipped", api.ShippedRequest{Units: units}), http.StatusOK).Units
	}
	if got := ask(s, question...); len(got) != 0 {
		t.Errorf("before anything has left: %+v", got)
	}
	gone.anchor()
	must[api.UnitState](t, s.send("PUT", "/units/GONE-001/shipment", api.ShipmentRequest{
		Generation: 1, Waybill: "SF0000000001", Scans: []api.TokenSerial{gone.csr.TokenSerial}, PackedBy: "packer-1",
	}), http.StatusOK)
	if got := ask(s, question...); !cmp.Equal(got, []api.FinishedUnit{finished(gone)}) {
		t.Errorf("after one has left: %+v", got)
	}
	if got := ask(thief, question...); len(got) != 0 {
		t.Errorf("another station hears of %+v", got)
	}
	for _, change := range []func(*api.FinishedUnit){
		func(u *api.FinishedUnit) { u.Generation = 2 }, func(u *api.FinishedUnit) { u.TokenSerial = here.csr.TokenSerial },
	} {
		u := finished(gone)
		change(&u)
		if got := ask(s, u); len(got) != 0 {
			t.Errorf("asked about %+v: %+v", u, got)
		}
	}
	wantProblem(t, s.send("POST", "/shipped", map[string]any{"units": []any{}}), 422, api.ProblemInvalidContent)
	if _, err := r.admin.Return(t.Context(), "GONE-001", api.ReturnRequest{Operator: "returns-1", Reason: "refused by the customer"}); err != nil {
		t.Fatal(err)
	}
	if got := ask(s, question...); len(got) != 0 {
		t.Errorf("after it came back: %+v", got)
	}
}
