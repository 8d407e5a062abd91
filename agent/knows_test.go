package agent

import (
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// A job was given up whose request the server never took. Its unit comes again, and may
// not be begun again; it is given back instead of waiting here for every lease's end.
func TestAUnitWhoseKeyWasNeverTakenIsGivenBack(t *testing.T) {
	r := newRig(t, 1, 2*time.Minute)
	r.order(1)
	unit := r.units()[0]
	rec, err := r.journal.Create(provision.Job{
		Kind: provision.KindInitial, Generation: int(unit.Generation), CreatedAt: time.Now(), TokenLabel: pkcs11.TokenLabel(unit.UnitId),
		Subject: csr.SubjectData{OrderID: unit.OrderId, UnitID: unit.UnitId, Sequence: 1, Of: 1, ProductCode: "CERT272353"},
	}, 0, provision.TokenRef{Module: "bay-01", Identity: pkcs11.Identity{Serial: "gone"}})
	if err != nil {
		t.Fatal(err)
	}
	rec.Facts.Touched, rec.Facts.Bound, rec.State = true, true, provision.StateQuarantined
	if err := r.journal.Finish(rec, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	unit = r.units()[0]
	if unit.State == api.LEASED || unit.Attempts == 0 {
		t.Errorf("the unit is %s after %d attempts; it should have been given back", unit.State, unit.Attempts)
	}
}
