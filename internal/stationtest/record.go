package stationtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/provision"
)

// enrolled is the station's name.
const enrolled = "sample-station"

// CheckRecord: the station's record holds, each finished job is in it once, and what the
// server has of it is how it begins.
func (s *Station) CheckRecord() {
	t := s.t
	t.Helper()
	j, err := provision.ReadJournal(s.Journal())
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	installed := map[string]int{}
	_, err = audit.Verify(j.Record())
	for row, rowErr := range j.Record() {
		e, decodeErr := audit.Decode(row.Line)
		err = errors.Join(err, rowErr, decodeErr)
		own = append(own, string(row.Line))
		if e.Kind == audit.KindInstalled {
			installed[e.Job]++
		}
	}
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatalf("the record: %v", err)
	}
	for _, r := range s.Records() {
		if finished := r.State == provision.StateFinished; finished != (installed[r.Job.ID] == 1) || installed[r.Job.ID] > 1 {
			t.Errorf("job %s is %s, and %d times on record as installed", r.Job.ID, r.State, installed[r.Job.ID])
		}
	}
	instance, err := os.ReadFile(filepath.Join(filepath.Dir(s.Journal()), "instance-id"))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(string(instance))
	records, err := s.Central.Admin.Records(t.Context(), enrolled)
	if err != nil || len(records) != 1 || records[0].InstanceId != id || records[0].ForkedAt != nil {
		t.Fatalf("the server has the records %+v (%v)", records, err)
	}
	theirs, err := s.Central.Admin.RecordEntries(t.Context(), enrolled, id)
	if err != nil || len(theirs) == 0 || len(theirs) > len(own) || int64(len(theirs)) != records[0].Size {
		t.Fatalf("the server has %d of %d entries, and says %d (%v)", len(theirs), len(own), records[0].Size, err)
	}
	for i, line := range theirs {
		if line != own[i] {
			t.Errorf("entry %d is %s here, and at the server %s", i, own[i], line)
		}
	}
}
