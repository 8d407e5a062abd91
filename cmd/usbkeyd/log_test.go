package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
)

// buffer may be written from several goroutines.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

// about are the lines of a log that are about a unit, each by what it says: a request by its
// operation, a report by its kind, a job's end by its state.
func about(t *testing.T, log, unit string) map[string]int {
	t.Helper()
	said := map[string]int{}
	for line := range strings.Lines(log) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("a line that is no JSON: %s", line)
		}
		if e["unit"] != unit {
			if strings.Contains(line, unit) {
				t.Errorf("a line is about the unit, and has no key of it: %s", line)
			}
			continue
		}
		what := e["msg"].(string)
		for _, key := range []string{"operation", "kind", "state"} {
			if v, ok := e[key].(string); ok {
				what += " " + v
			}
		}
		said[what]++
	}
	return said
}

// TestOneIdInBothLogs follows a unit by its id from the claim to the shipment, through the
// station's log and the server's; both tell no person and no PIN.
func TestOneIdInBothLogs(t *testing.T) {
	var server buffer
	at := centraltest.New(t, func(c *central.Config) { c.Logger = slog.New(slog.NewJSONHandler(&server, nil)) })
	r := &packRoom{newStationAt(t, at, 1, "ec-p256")}
	r.Central.Order(t, 1)
	log := filepath.Join(r.Dir, "log")
	r.want(exitOK, "", "run", "--drain", "--log", log)
	key := r.keys()[0]
	for _, code := range []string{key.OrderID, key.TokenSerial, sampleWaybill} {
		r.want(exitOK, code, "pack", "scan", code, "--by", "p1")
	}
	r.want(exitOK, "is reported", "pack", "close", "--by", "p1")
	r.want(exitOK, "", "run", "--drain", "--log", log)
	if u := r.Central.Units(t)[0]; u.State != api.SHIPPED {
		t.Fatalf("the unit is %s", u.State)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		whose, log string
		want       []string
	}{
		{"the station", string(text), []string{
			"unit claimed", "job made", "job finished", "report answered result", "report answered shipment",
		}},
		{"the server", server.text(), []string{
			"unit leased", "request PutEscrow", "request PutEscrowToken", "request PutCsr", "certificate issued", "request PutResult", "request PutShipment",
		}},
	} {
		said := about(t, row.log, key.UnitID)
		for _, what := range row.want {
			if said[what] != 1 {
				t.Errorf("%s has logged %q %d times of the unit, wanted once: %v", row.whose, what, said[what], said)
			}
		}
		for _, private := range []string{"示例客车", "经办人甲", "handler-1@example.com", "收件人乙", "示例省", "审核员丙"} {
			if strings.Contains(row.log, private) {
				t.Errorf("%s logs %s", row.whose, private)
			}
		}
	}
}
