package crashmatrix

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

const waybill = "SF0000000001"

// parcel: the daemon dies once its token is reported, and runs again until the end of the
// unit is on record at the server, so that the parcel may leave. When it runs the next
// time it destroys the PINs; after that the parcel comes back.
func parcel() setting {
	return setting{
		name: "parcel leaves and comes back", worst: 10, lease: 12, dies: &point{crashpoint.AfterIt, 1, crashpoint.OutboxSent},
		meanwhile: func(w *world) {
			p := w.startDaemon(nil)
			// It may be on record already, and a daemon that has not begun is not stopped cleanly.
			w.eventually("the start of the daemon", func() bool { return passedLabel(w.t, w.daemonTrace(w.runs), "PUT /v1/session") })
			w.eventually("the unit's end to be on record", w.anchored)
			if err := p.Stop(); err != nil {
				w.t.Errorf("the daemon did not stop cleanly: %v\n%s", err, stationtest.Tail(w.daemonLog()))
			}
			w.try("ship the parcel", w.ship)
		},
		person: takesBack, over: returned, check: (*world).checkReturned,
	}
}

func (w *world) anchored() bool {
	return w.count("SELECT COUNT(*) FROM record_entries WHERE kind = 'installed'") == 1
}

// ship tells the server that the parcel has left, as a program of somebody else's at the packing table does.
func (w *world) ship() error {
	records := w.Records()
	if len(records) != 1 {
		return fmt.Errorf("%d jobs", len(records))
	}
	body, err := json.Marshal(api.ShipmentRequest{
		Generation: 1, Waybill: waybill, Scans: []api.TokenSerial{string(records[0].Token.Identity.Serial)}, PackedBy: "packer-1",
	})
	if err != nil {
		return err
	}
	root, err := os.ReadFile(filepath.Join(w.access.StationDir, "central-root.pem"))
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(w.access.StationDir, "station.crt"), filepath.Join(w.access.StationDir, "station.key"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return errors.New("no root")
	}
	_, unit := w.order()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPut, w.access.URL+"/units/"+unit+"/shipment", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, said)
	}
	return nil
}

// takesBack is who opens the door to the courier, after the station has destroyed the
// PINs. The server may be dead, or be dying; then they try again.
func takesBack(w *world) {
	if w.withPINs() > 0 || w.count("SELECT COUNT(*) FROM units WHERE state = 'SHIPPED'") == 0 {
		return
	}
	_, unit := w.order()
	_, _ = w.access.Admin.Return(w.t.Context(), unit, api.ReturnRequest{Operator: "returns-1", Reason: "refused by the customer"})
}

// withPINs counts the finished jobs whose PINs the station still has.
func (w *world) withPINs() int {
	return stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job WHERE state = 'finished' AND facts ->> '$.SOPINBox' IS NOT NULL")
}

func returned(w *world) bool {
	return w.count("SELECT COUNT(*) FROM units WHERE state = 'HELD' AND held_reason LIKE 'returned:%'") == 1
}

// checkReturned: one key was made and reported once, left once and came back once. The
// station has no PIN of it any more, the officers have.
func (w *world) checkReturned() {
	t := w.t
	t.Helper()
	w.checkCounts(map[string]counted{
		"finished jobs":         {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job WHERE state = 'finished'"), 1},
		"other jobs":            {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job WHERE state <> 'finished'"), 0},
		"jobs with PINs":        {w.withPINs(), 0},
		"times destroyed":       {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM entry WHERE note LIKE 'PINs destroyed:%'"), 1},
		"results at the server": {w.count("SELECT COUNT(*) FROM results WHERE outcome = 'installed'"), 1},
		"bound keys":            {w.count("SELECT COUNT(*) FROM bindings"), 1},
		"shipments":             {w.count("SELECT COUNT(*) FROM shipments"), 1},
		"times shipped":         {w.count("SELECT COUNT(*) FROM history WHERE to_state = 'SHIPPED'"), 1},
		"times returned":        {w.count("SELECT COUNT(*) FROM history WHERE to_state = 'HELD'"), 1},
		"events of it":          {w.count("SELECT COUNT(*) FROM outgoing_events WHERE kind = 'shipped'"), 1},
	})
	if issued, err := w.access.Admin.Certificates(t.Context()); err != nil || len(issued) != 1 {
		t.Errorf("%d certificates were issued (%v)", len(issued), err)
	}
	_, serial := w.Token(0)
	escrows, err := w.access.Admin.Escrows(t.Context(), serial, "")
	if err != nil || len(escrows) != 1 {
		t.Fatalf("%d SO PINs of token %s in escrow (%v)", len(escrows), serial, err)
	}
	sealed, err := w.access.Admin.SealedSOPIN(t.Context(), escrows[0].EscrowId)
	if err != nil {
		t.Fatal(err)
	}
	label, _ := w.Token(0)
	if !w.OpensAsSO(0, label, w.access.OpenPIN(t, sealed)) {
		t.Error("the SO PIN from escrow does not open the token")
	}
}
