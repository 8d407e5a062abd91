package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/provision"
)

// packed is a station with one finished key, scanned into the parcel that is open.
func packed(t *testing.T) (*pcscd, provision.Table, packing.Key) {
	t.Helper()
	p := newPCSCD(t, 1)
	p.pcsc, p.config.Probe = "", nil
	p.order(1)
	if summary, err := p.run(t.Context()); err != nil || summary.Finished != 1 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	jobs, err := p.journal.All()
	if err != nil {
		t.Fatal(err)
	}
	g, err := packing.NewGrammar([]string{"SF[0-9]{12}"})
	if err != nil {
		t.Fatal(err)
	}
	size, err := p.journal.RecordSize()
	if err != nil {
		t.Fatal(err)
	}
	table := provision.Table{Journal: p.journal, Grammar: g, Verify: packing.VerifyNever, Anchored: size, Now: time.Now}
	for _, code := range []string{jobs[0].Job.Subject.OrderID, string(jobs[0].Token.Identity.Serial), "SF123456789012"} {
		if _, _, err := table.Scan(code, "p1"); err != nil {
			t.Fatal(err)
		}
	}
	d, err := table.Desk()
	if err != nil {
		t.Fatal(err)
	}
	return p, table, d.Parcel.Keys[0]
}

// TestKeysAreReadForThePackingTable: the daemon, which has the tokens, reads the key that is
// put in, beside its own watching.
func TestKeysAreReadForThePackingTable(t *testing.T) {
	p, table, key := packed(t)
	p.config.Drain = false
	p.shims[0].Rules(t, pkcs11test.Removed(pkcs11.TokenSerial(key.Token)))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := p.run(ctx)
		ended <- err
	}()
	if _, err := table.AskInsertion(key, "p2", time.Minute); err != nil {
		t.Fatal(err)
	}
	wish := func() provision.Insertion {
		i, err := p.journal.Insertion()
		if err != nil || i == nil {
			t.Fatal(i, err)
		}
		return *i
	}
	p.waitFor("the key to be waited for", func() bool { return wish().Says != "" })
	if i := wish(); i.Reason != "" {
		t.Fatalf("before it is there: %+v", i)
	}
	p.shims[0].Rules(t)
	p.waitFor("the key to be read", func() bool { return wish().Reason != "" })
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	d, err := table.Desk()
	if i := wish(); err != nil || i.Reason != provision.InsertionRead || !d.Parcel.Keys[0].Verified {
		t.Errorf("%+v; parcel %+v (%v)", i, d.Parcel, err)
	}
}

// TestShipmentOfACancelledOrder: the parcel is closed when the order is withdrawn; it is told
// to be looked at, and is no report that was fine.
func TestShipmentOfACancelledOrder(t *testing.T) {
	p, table, _ := packed(t)
	if _, _, err := table.Close("p1"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.central.Admin.Cancel(t.Context(), string(p.units()[0].OrderId), api.CancelRequest{Operator: "admin-1", Reason: "withdrawn"}); err != nil {
		t.Fatal(err)
	}
	summary, err := p.run(t.Context())
	if err != nil || summary.Refused != 1 {
		t.Errorf("%+v (%v)", summary, err)
	}
	parcels, err := p.journal.Shipments()
	if err != nil || len(parcels) != 1 || !parcels[0].Refused() || !strings.HasPrefix(parcels[0].Answers[parcels[0].Keys[0].Unit], "refused: ") {
		t.Errorf("%+v (%v)", parcels, err)
	}
}
