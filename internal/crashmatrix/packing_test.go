package crashmatrix

import (
	"fmt"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestCrashWhilePacking kills whoever packs before and after each commit of the packing
// table, and the daemon before and after it reports the parcel. Whoever was killed does the
// same once more, as a person does who sees no answer; what was done already is refused. In
// the end the parcel was closed once, whole, and shipped once.
func TestCrashWhilePacking(t *testing.T) {
	acts := []string{"open", "scan", "waybill", "close"}
	type kill struct {
		act   string // "" for the daemon
		label crashpoint.Label
	}
	kills := []kill{{"", "PUT /v1/units/*/shipment"}}
	for _, act := range acts {
		label := crashpoint.JournalIntent
		if act == "close" {
			label = crashpoint.JournalEnd
		}
		kills = append(kills, kill{act, label})
	}
	for _, k := range kills {
		for _, moment := range []string{crashpoint.BeforeIt, crashpoint.AfterIt} {
			at := &point{moment, 1, k.label}
			t.Run(strings.TrimPrefix(fmt.Sprintf("%s/%s", k.act, at), "/"), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, settings(daemon)[0])
				w.makeOne()
				order, _ := w.order()
				died := 0
				for _, act := range acts {
					args := map[string][]string{
						"open": {order}, "scan": {string(w.Records()[0].Token.Identity.Serial)}, "waybill": {"SF000000000001"},
					}[act]
					run := func(at *point) bool {
						one := w.command(at, append([]string{"pack", act, "--by", "packer-1"}, args...)...)
						if at != nil && one.Killed() {
							died++
							return false
						}
						return one.Wait() == nil
					}
					if act != k.act {
						if !run(nil) {
							t.Fatalf("%s\n%s", act, stationtest.Tail(w.daemonLog()))
						}
						continue
					}
					run(at)
					if again := run(nil); again != (moment == crashpoint.BeforeIt) {
						t.Errorf("%s once more is done: %v", act, again)
					}
				}
				if k.act == "" {
					p := w.startDaemon(at)
					if !p.Killed() {
						t.Fatal("the daemon did not die")
					}
					died++
				}
				w.daemon = w.startDaemon(nil)
				w.eventually("the parcel to be shipped", func() bool {
					return w.count("SELECT COUNT(*) FROM units WHERE state = 'SHIPPED'") == 1 &&
						stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM report WHERE sent_at IS NULL") == 0
				})
				if err := w.daemon.Stop(); err != nil {
					t.Error(err)
				}
				if died != 1 {
					t.Errorf("%d were killed", died)
				}
				w.checkCounts(map[string]counted{
					"acts":                {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM parcel_act"), 4},
					"parcels closed":      {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM parcel_act WHERE kind = 'closed'"), 1},
					"keys packed":         {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM record WHERE instr(line, '\"kind\":\"packed\"')"), 1},
					"reports of shipment": {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM report WHERE json_extract(body, '$.Kind') = 'shipment'"), 1},
					"shipments":           {w.count("SELECT COUNT(*) FROM shipments"), 1},
					"times shipped":       {w.count("SELECT COUNT(*) FROM history WHERE to_state = 'SHIPPED'"), 1},
					"events of it":        {w.count("SELECT COUNT(*) FROM outgoing_events WHERE kind = 'shipped'"), 1},
				})
			})
		}
	}
}

// makeOne has the daemon finish a key, and know that its end is on record at the server.
func (w *world) makeOne() {
	w.t.Helper()
	w.startServer()
	w.enrol()
	p := w.startDaemon(nil)
	w.eventually("the unit's end to be on record", w.anchored)
	// The station keeps the checkpoint that the server has signed a moment later.
	w.eventually("the daemon to know it", func() bool {
		return stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM evidence WHERE statement IS NOT NULL") == 1
	})
	if err := p.Stop(); err != nil {
		w.t.Fatalf("%v\n%s", err, stationtest.Tail(w.daemonLog()))
	}
}

// command starts a command beside the daemon; it may die at a point.
func (w *world) command(at *point, args ...string) *stationtest.Process {
	w.t.Helper()
	w.runs++
	return launch(w.t, "usbkeyd", w.daemonLog(), w.daemonTrace(w.runs), at, nil, append([]string{"--config", w.Config}, args...)...)
}
