package agent

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestPINsGoWithTheParcel: the station keeps both PINs of a finished token until the
// server says that the parcel has left; those of a token that is still here stay.
func TestPINsGoWithTheParcel(t *testing.T) {
	r := newRig(t, 2, time.Minute)
	r.order(2)
	if summary, err := r.run(t.Context()); err != nil || summary.Finished != 2 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	kept, err := r.journal.KeptPINs("", 10)
	if err != nil || len(kept) != 2 {
		t.Fatalf("%+v (%v)", kept, err)
	}
	gone, stays := kept[0], kept[1]
	resp, err := r.config.Central.api.PutShipment(t.Context(), gone.UnitID, api.ShipmentRequest{
		Generation: int32(gone.Generation), Waybill: "SF0000000001", Scans: []string{string(gone.TokenSerial)}, PackedBy: "packer-1",
	})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()

	var asked atomic.Int32
	r.throughProxy(func(_ http.ResponseWriter, req *http.Request) bool {
		if strings.HasSuffix(req.URL.Path, "/shipped") {
			asked.Add(1)
		}
		return false
	})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r.config.Drain, r.config.DepartureInterval = false, 20*time.Millisecond
	ended := make(chan error, 1)
	go func() {
		_, err := r.run(ctx)
		ended <- err
	}()
	r.waitFor("the end of PINs", func() bool {
		kept, err := r.journal.KeptPINs("", 10)
		return err == nil && len(kept) < 2
	})
	// The third question from now on begins when the answer to the second has been acted upon.
	before := asked.Load()
	r.waitFor("more questions about the other token", func() bool { return asked.Load() >= before+3 })
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if kept, err := r.journal.KeptPINs("", 10); err != nil || len(kept) != 1 || kept[0] != stays {
		t.Errorf("the journal still has the PINs of %+v (%v), wanted those of %+v only", kept, err, stays)
	}
}

// TestDepartedIsNotBelievedBlindly: PINs are destroyed upon the answer, so that one which
// does not fit the question is none.
func TestDepartedIsNotBelievedBlindly(t *testing.T) {
	asked := []provision.Kept{{JobID: "j", UnitID: "U-001", Generation: 1, TokenSerial: "A1"}}
	for body, want := range map[string]int{
		`{"units":[]}`: 0,
		`{"units":[{"unitId":"U-001","generation":1,"tokenSerial":"A1"}]}`: 1,
		`{"units":[{"unitId":"U-001","generation":2,"tokenSerial":"A1"}]}`: -1,
		`{"units":[{"unitId":"U-001","generation":1,"tokenSerial":"B2"}]}`: -1,
		`{"units":[{"unitId":"U-002","generation":1,"tokenSerial":"A1"}]}`: -1,
		`nonsense`: -1,
	} {
		server, _ := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		})
		gone, err := centralOf(t, server).departed(t.Context(), asked)
		if want < 0 && (err == nil || gone != nil) || want >= 0 && (err != nil || len(gone) != want) {
			t.Errorf("%s: %+v, %v", body, gone, err)
		}
	}
}
