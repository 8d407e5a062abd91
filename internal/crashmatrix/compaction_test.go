package crashmatrix

import (
	"fmt"
	"os"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestCrashWhileCompacting kills a compaction before and after its commit. Either everything is
// there, or what must not be forgotten; and once more does the rest.
func TestCrashWhileCompacting(t *testing.T) {
	for _, moment := range []string{crashpoint.BeforeIt, crashpoint.AfterIt} {
		at := &point{moment, 1, crashpoint.JournalCompact}
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings(daemon)[0])
			w.makeOne()
			must := func(args ...string) {
				t.Helper()
				if err := w.command(nil, args...).Wait(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, stationtest.Tail(w.daemonLog()))
				}
			}
			order, _ := w.order()
			must("pack", "open", "--by", "packer-1", order)
			must("pack", "scan", "--by", "packer-1", string(w.Records()[0].Token.Identity.Serial))
			must("pack", "waybill", "--by", "packer-1", "SF000000000001")
			must("pack", "close", "--by", "packer-1")
			p := w.startDaemon(nil)
			w.eventually("the parcel to be shipped", func() bool { return w.count("SELECT COUNT(*) FROM units WHERE state = 'SHIPPED'") == 1 })
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			p = w.startDaemon(nil) // it asks at its start which keys have left
			w.eventually("the start of the daemon", func() bool { return passedLabel(t, w.daemonTrace(w.runs), "PUT /v1/session") })
			w.eventually("the end of its PINs", func() bool {
				return stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job WHERE json_extract(facts, '$.SOPINBox') IS NULL") == 1
			})
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(w.Config, os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("journal: {keep: 1s}\n"); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			const thin = "SELECT COUNT(*) FROM job WHERE json_extract(facts, '$.Compacted')"
			w.eventually("the job to be old enough", func() bool {
				return stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job WHERE updated_at < 1000 * (unixepoch() - 2)") == 1
			})
			if !w.command(at, "journal", "compact").Killed() {
				t.Fatal("it did not die")
			}
			begins := stationtest.Count(w.Journal(), "SELECT n FROM record_base")
			want := map[bool]int{false: 0, true: 1}[moment == crashpoint.AfterIt]
			if got := stationtest.Count(w.Journal(), thin); got != want || (begins > 0) != (want > 0) {
				t.Errorf("%d jobs are compacted, lines begin at %d", got, begins)
			}
			must("audit", "verify")
			must("journal", "compact")
			must("audit", "verify")
			if got := stationtest.Count(w.Journal(), thin); got != 1 {
				t.Errorf("%d jobs are compacted in the end", got)
			}
			must("run", "--drain", "--log", "-")
			w.CheckRecord()
			w.checkCounts(map[string]counted{
				"jobs":          {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job"), 1},
				"times shipped": {w.count("SELECT COUNT(*) FROM history WHERE to_state = 'SHIPPED'"), 1},
				"certificates":  {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job WHERE json_extract(facts, '$.CertificateSerial') IS NOT NULL"), 1},
			})
		})
	}
}
