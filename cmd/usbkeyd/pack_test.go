package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

const sampleWaybill = "SF123456789012"

// packRoom is a station beside a packing table.
type packRoom struct{ *station }

// keys are the finished jobs, in the order of their units.
func (r *packRoom) keys() (rows []jobRow) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.want(exitOK, "", "jobs", "list", "-o", "json")), &rows); err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b jobRow) int { return a.Sequence - b.Sequence })
	return rows
}

func (r *packRoom) parcels(args ...string) (views []parcelView) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.want(exitOK, "", append([]string{"pack", "list", "-o", "json"}, args...)...)), &views); err != nil {
		r.t.Fatal(err)
	}
	return views
}

// insert verifies a key that is put in while that is waited for.
func (r *packRoom) insert(key jobRow) {
	r.t.Helper()
	var n int
	if _, err := fmt.Sscanf(key.Module, "bay-%02d", &n); err != nil {
		r.t.Fatal(err)
	}
	in, out := filepath.Join(r.Bays[n-1].Dir, "tokens"), filepath.Join(r.Bays[n-1].Dir, "out")
	move := func(from, to string) {
		r.t.Helper()
		found, err := filepath.Glob(filepath.Join(from, "*"))
		if err != nil || len(found) == 0 {
			r.t.Fatalf("tokens in %s: %v (%v)", from, found, err)
		}
		for _, f := range found {
			if err := os.Rename(f, filepath.Join(to, filepath.Base(f))); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(out, 0o700); err != nil {
		r.t.Fatal(err)
	}
	move(in, out)
	done := make(chan string, 1)
	go func() {
		code, out, errOut := r.command("pack", "verify", key.TokenSerial, "--by", "p2")
		done <- fmt.Sprint(code, " ", out, errOut)
	}()
	stationtest.Eventually(r.t, "the key to be waited for", func() bool {
		return stationtest.Count(r.Journal(), "SELECT COUNT(*) FROM insertion WHERE says IS NOT NULL AND reason IS NULL AND json_extract(key, '$.tokenSerial') = $1", key.TokenSerial) == 1
	})
	move(out, in)
	if said := <-done; !strings.HasPrefix(said, fmt.Sprint(exitOK)) || !strings.Contains(said, key.TokenSerial+" has shown its serial and its certificate") || !strings.Contains(said, "in now") {
		r.t.Fatalf("verify: %s", said)
	}
}

// TestPack is the way of a parcel of two keys: opened, scanned, put in again with the daemon
// stopped and with it at work, closed, and told to the central server.
func TestPack(t *testing.T) {
	r := &packRoom{newStation(t, 2, "ec-p256")}
	r.want(exitFailure, "no journal yet", "pack", "open", "SAMPLE-2026-0001", "--by", "p1")
	r.want(exitFailure, "no journal yet", "pack", "list")
	r.Central.Order(t, 2)
	r.drain(exitOK)
	keys := r.keys()
	order, first, second := keys[0].OrderID, keys[0].TokenSerial, keys[1].TokenSerial
	r.want(exitOK, "No such parcels", "pack", "list")
	r.want(exitFailure, "no parcel is open", "pack", "show")
	r.want(exitUsage, "--by", "pack", "scan", order)
	r.want(exitUsage, "--by", "pack", "close", "--by", "经办人甲")
	r.want(exitFailure, "scan the order first", "pack", "scan", first, "--by", "p1")
	r.want(exitOK, "Key 2 of 2 ("+keys[1].UnitID+") is not scanned yet", "pack", "scan", order, "--by", "p1")
	r.want(exitFailure, "was not made here", "pack", "scan", "0123456789ABCDEF", "--by", "p1")
	r.want(exitFailure, "no order number, token serial or waybill", "pack", "scan", first+"\n", "--by", "p1")
	r.want(exitOK, "(1 of 2 keys)", "pack", "scan", first, "--by", "p1")
	r.want(exitFailure, "in the parcel already", "pack", "scan", first, "--by", "p1")
	r.want(exitFailure, "The waybill comes last", "pack", "scan", sampleWaybill, "--by", "p1")
	r.want(exitOK, "Undone: "+first, "pack", "undo", "--by", "p1")
	for _, code := range []string{second, first, sampleWaybill} {
		r.want(exitOK, code, "pack", "scan", code, "--by", "p1")
	}
	r.want(exitFailure, "is not verified: insert it", "pack", "close", "--by", "p1")
	r.want(exitFailure, "was not put in", "pack", "verify", "--by", "p2", "--wait", "1s") // it is in all the time
	r.insert(keys[0])
	if out := r.want(exitOK, sampleWaybill, "pack", "show"); !strings.Contains(out, "ready  p1          yes") || !strings.Contains(out, second+") is not verified") {
		t.Errorf("show:\n%s", out)
	}

	r.insert(keys[1])

	daemon := r.start(t.Context(), filepath.Join(r.Dir, "daemon.log"), "run")
	stationtest.Eventually(t, "the daemon to be at work", func() bool {
		return stationtest.Count(r.Journal(), "SELECT COUNT(*) FROM record WHERE instr(line, '\"kind\":\"session\"')") == 2
	})
	r.want(exitFailure, "was not put in", "pack", "verify", second, "--by", "p2", "--wait", "3s") // says the daemon
	r.want(exitOK, "The parcel is closed", "pack", "close", "--by", "p1")
	stationtest.Eventually(t, "the server to be told", func() bool {
		return stationtest.Count(r.Journal(), "SELECT COUNT(*) FROM report WHERE answer = 'SHIPPED'") == 2
	})
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, u := range r.Central.Units(t) {
		if u.State != api.SHIPPED {
			t.Errorf("unit %s is %s", u.UnitId, u.State)
		}
	}
	r.want(exitOK, "No such parcels", "pack", "list")
	if p := r.parcels("--all"); len(p) != 1 || p[0].State != parcelShipped || p[0].ClosedBy != "p1" || p[0].Waybill != sampleWaybill || len(p[0].Units) != 2 || !p[0].Units[0].Verified {
		t.Errorf("parcels %+v", p)
	}
	r.want(exitOK, "shipped, waybill "+sampleWaybill, "pack", "show", order)
	if out := r.want(exitOK, "packed", "audit", "show", "--unit", keys[0].UnitID); !strings.Contains(out, "verified") {
		t.Errorf("on record:\n%s", out)
	}
}

// TestPackingIsRefusedLater: a parcel is closed without a network; what the server has against
// it then is told.
func TestPackingIsRefusedLater(t *testing.T) {
	r := &packRoom{newStation(t, 1, "ec-p256")}
	r.Central.Order(t, 1)
	r.drain(exitOK)
	key := r.keys()[0]
	if status := r.ship(key.UnitID, "p9"); status != http.StatusOK {
		t.Fatalf("another program packs it: %d", status)
	}
	for _, code := range []string{key.OrderID, key.TokenSerial, sampleWaybill} {
		r.want(exitOK, code, "pack", "scan", code, "--by", "p1")
	}
	r.want(exitOK, "is reported", "pack", "close", "--by", "p1") // one key need not be put in
	if p := r.parcels(); len(p) != 1 || p[0].State != parcelClosed || p[0].ClosedAt == nil {
		t.Errorf("before the server is asked: %+v", p)
	}
	r.drain(exitUnfinished)
	if p := r.parcels(); len(p) != 1 || p[0].State != parcelRefused || len(p[0].Refused) != 1 || !strings.Contains(p[0].Refused[0], "another shipment") {
		t.Errorf("refused: %+v", p)
	}
	r.want(exitOK, "another shipment", "pack", "list")
	r.want(exitOK, "refused, waybill", "pack", "show", key.OrderID)
}

// TestPackingPolicies: what may be configured is what the table knows.
func TestPackingPolicies(t *testing.T) {
	known := []string{string(packing.VerifySeveral), string(packing.VerifyAlways), string(packing.VerifyNever)}
	if !slices.Equal(known, config.Verifications()) {
		t.Errorf("the table knows %v, settings take %v", known, config.Verifications())
	}
}
