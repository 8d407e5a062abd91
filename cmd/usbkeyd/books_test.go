package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// printed is what a command prints as JSON.
func printed[T any](s *station, args ...string) (out T) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.want(exitOK, "", append(args, "-o", "json")...)), &out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// TestBooks: from a station that wrote an urgent order of two keys, sent one parcel and cannot
// do a third key, the command line tells all of it, by every number, beside or without a daemon.
func TestBooks(t *testing.T) {
	s := &station{stationtest.New(t, &centraltest.New(t, nil).Access, t.TempDir(), 2, "ec-p256", "packing: {verify: never}\n"), t}
	s.want(exitOK, "No orders yet", "orders", "list")
	for _, command := range [][]string{{"today"}, {"search", "x"}, {"orders", "show", "x"}} {
		s.want(exitFailure, "no journal yet", command...)
	}
	s.Central.Order(t, 2)
	order := s.Central.Units(t)[0].OrderId
	if _, err := s.Central.Admin.FlagOrder(t.Context(), order, api.OrderFlags{Urgent: true}); err != nil {
		t.Fatal(err)
	}
	s.drain(exitOK)

	if list := printed[[]orderRow](s, "orders", "list"); len(list) != 1 || list[0].OrderID != order || list[0].Done != 2 || list[0].Of != 2 || list[0].Open != 0 || !list[0].Urgent || list[0].Due.IsZero() {
		t.Errorf("%+v", list)
	}
	for _, code := range []string{order, printed[[]jobRow](s, "jobs", "list")[0].TokenSerial, sampleWaybill} {
		s.want(exitOK, code, "pack", "scan", code, "--by", "p1")
		if code == order {
			s.want(exitOK, "", "pack", "scan", printed[[]jobRow](s, "jobs", "list")[1].TokenSerial, "--by", "p1")
		}
	}
	if left := printed[console.Shift](s, "today").Left; left != (console.Left{Unsent: 2}) {
		t.Errorf("left: %+v", left)
	}
	if o := printed[console.Order](s, "orders", "show", order); o.Units[0].Waybill != "" {
		t.Errorf("a parcel that is open has left: %+v", o.Units[0])
	}
	s.want(exitOK, "closed", "pack", "close", "--by", "p1")
	s.drain(exitOK) // tells the server

	o := printed[console.Order](s, "orders", "show", order)
	units := map[string]api.Unit{}
	for _, u := range s.Central.Units(t) {
		units[u.UnitId] = u
	}
	if len(o.Units) != 2 || !o.Urgent || o.Done() != 2 || o.Company == "" {
		t.Fatalf("%+v", o)
	}
	for _, u := range o.Units {
		at := units[u.ID]
		if u.State != "finished" || u.Token != *at.TokenSerial || u.Waybill != sampleWaybill || u.Record < 0 || !u.Signed || u.Certificate == nil {
			t.Fatalf("%+v", u)
		}
		c := u.Certificate
		if c.Serial != *at.CertificateSerial || c.SHA256 != *at.CertificateSha256 || !strings.Contains(c.Subject, "CN="+u.ID) || !c.NotAfter.Equal(*at.CertificateNotAfter) || !c.NotBefore.Before(c.NotAfter) {
			t.Errorf("%+v, and the server has %+v", c, at)
		}
		issued, err := s.Central.Admin.Certificates(t.Context())
		if err != nil || !strings.Contains(fmt.Sprintf("%+v", issued), c.Key) {
			t.Errorf("the CA knows no key %s: %v", c.Key, err)
		}
		for by, code := range map[string]string{
			"unit": u.ID, "job": u.Job, "token": u.Token, "certificate": strings.ToUpper(c.Serial), "waybill": sampleWaybill, "order": order,
		} {
			finds := printed[console.Finds](s, "search", code)
			found := 0
			for _, h := range finds.Hits {
				if h.By == by && h.Unit == u.ID && h.Token == u.Token && h.Waybill == sampleWaybill {
					found++
				}
			}
			if found != 1 || finds.More {
				t.Errorf("%s %s: %+v", by, code, finds)
			}
		}
	}
	var told []string
	for i, a := range o.History {
		if i > 0 && a.At.After(o.History[i-1].At) {
			t.Errorf("%+v comes after %+v", a, o.History[i-1])
		}
		if a.Unit == 1 || a.Unit == 0 {
			told = append(told, strings.TrimSpace(strings.Join([]string{a.What, a.Step, a.Text, a.By}, " ")))
		}
	}
	all := strings.Join(told, "\n")
	for _, want := range []string{"claimed", "step generate-key", "ended  finished", "told result INSTALLED", "told shipment SHIPPED", "packing opened  p1", "packing waybill " + sampleWaybill + " p1", "packing closed  p1"} {
		if !strings.Contains(all, want) {
			t.Errorf("the history lacks %q:\n%s", want, all)
		}
	}
	if strings.Count(all, "ended") != 1 {
		t.Errorf("it ended more than once:\n%s", all)
	}
	s.want(exitOK, "Nothing was found", "search", "0123456789ABCDEF")
	s.want(exitOK, "at least 4 characters", "search", "zzz")
	s.want(exitUsage, "no number", "search", "a\x07b")
	s.want(exitUsage, "wants a number", "search")
	s.want(exitFailure, "nothing of an order", "orders", "show", "X-1")
	if out := s.want(exitOK, order, "orders", "show", order); !strings.Contains(out, "PUBLIC KEY SHA-256") || !strings.Contains(out, "2/2") {
		t.Errorf("show:\n%s", out)
	}

	from, _ := console.DayAt(time.Now(), time.Local)
	shift := printed[console.Shift](s, "today")
	if from.Equal(shift.From) && (shift.Done != 2 || len(shift.Bays) != 2 || shift.Bays[0].Seconds <= 0 || shift.Left != (console.Left{})) {
		t.Errorf("%+v", shift)
	}
	s.want(exitOK, "not finished", "today")

	// What is printed is the daemon's where only it knows.
	for _, command := range []string{"bays", "queue"} {
		s.want(exitFailure, "no usbkeyd with an operator's page answers at ", command, "--socket", filepath.Join(s.Dir, "none.sock"))
	}
}
