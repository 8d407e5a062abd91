package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestJournalCompact: what there is to take out is told, taken out with the daemon stopped, and
// can be compared at the server only from then on. Nothing that is kept for ever goes.
func TestJournalCompact(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	must := s.must
	configure := func(keep string) {
		t.Helper()
		s.rewrite(func(text string) string {
			before, _, _ := strings.Cut(text, "journal:")
			return before + "journal: {keep: " + keep + "}\n"
		})
	}
	s.Central.Order(t, 1)
	log := filepath.Join(s.Dir, "log")
	must("run", "--drain", "--log", log)
	early := filepath.Join(s.Dir, "early.note")
	must("audit", "export", "--checkpoint", early)
	must("pack", "open", "--by", "packer-1", string(s.Central.Units(t)[0].OrderId))
	must("pack", "scan", "--by", "packer-1", string(s.Records()[0].Token.Identity.Serial))
	must("pack", "waybill", "--by", "packer-1", "SF000000000001")
	must("pack", "close", "--by", "packer-1")
	stationtest.Eventually(t, "the end of its PINs", func() bool {
		must("run", "--drain", "--log", log)
		return len(s.Records()[0].Facts.SOPINBox) == 0
	})
	told := func(args ...string) (c compaction) {
		t.Helper()
		if err := json.Unmarshal([]byte(must(append([]string{"journal", "compact", "-o", "json"}, args...)...)), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := told("--dry-run"); c.Jobs != 0 || c.Entries != 0 || !c.DryRun {
		t.Errorf("of a young journal: %+v", c)
	}
	configure("0s")
	if code, _, errOut := s.command("journal", "compact"); code != exitConfig || !strings.Contains(errOut, "for ever") {
		t.Errorf("kept for ever: %d %s", code, errOut)
	}
	configure("1s")
	var would compaction
	stationtest.Eventually(t, "all of it to be old enough", func() bool {
		size := stationtest.Count(s.Journal(), "SELECT count(*) FROM record")
		would = told("--dry-run")
		return would.Jobs == 1 && would.Entries == int64(size)
	})
	if s.Records()[0].Facts.Compacted {
		t.Error("a dry run has changed something")
	}
	done := told()
	if done.Jobs != 1 || done.Entries != would.Entries || done.DryRun || done.BytesAfter >= done.BytesBefore {
		t.Errorf("%+v", done)
	}
	if !s.Records()[0].Facts.Compacted {
		t.Error("nothing was taken out")
	}
	if again := told(); again.Jobs != 0 || again.Entries != 0 {
		t.Errorf("once more: %+v", again)
	}
	var state recordState
	if err := json.Unmarshal([]byte(must("audit", "verify", "-o", "json")), &state); err != nil || state.From != done.Entries || state.Entries < state.From {
		t.Errorf("%+v (%v)", state, err)
	}
	if code, _, errOut := s.command("audit", "verify", "--against", early); code != exitFailure || !strings.Contains(errOut, "at the central server") {
		t.Errorf("a checkpoint of before: %d %s", code, errOut)
	}
	must("run", "--drain", "--log", log)
	s.CheckRecord()
	must("audit", "show")
	must("orders", "show", string(s.Central.Units(t)[0].OrderId))
	must("jobs", "show", s.Records()[0].Job.ID)
}
