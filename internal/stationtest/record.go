package stationtest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/provision"
)

// enrolled is the station's name.
const enrolled = "sample-station"

// CheckRecord: the station's record holds, each finished job is in it once, and what the
// server has of it is how it begins. What was compacted is looked for at the server.
func (s *Station) CheckRecord() {
	t := s.t
	t.Helper()
	j, err := provision.ReadJournal(s.Journal())
	if err != nil {
		t.Fatal(err)
	}
	base, err := j.RecordBase()
	var own []audit.Row
	for row, rowErr := range j.Record() {
		err = errors.Join(err, rowErr)
		own = append(own, row)
	}
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatalf("the record: %v", err)
	}
	theirs := s.theirs(base.Size, base.Size+int64(len(own)))
	var whole audit.Memory
	for _, line := range theirs[:base.Size] {
		if _, err := (audit.Log{Storage: &whole}).AppendLine([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := (audit.Log{Storage: &whole}).Base(base.Size); err != nil || !slices.Equal(there.Hashes, base.Hashes) {
		t.Errorf("the first %d entries have other hashes here than at the server (%v)", base.Size, err)
	}
	whole.Rows = append(whole.Rows, own...)
	if _, err := audit.Verify(whole.All()); err != nil {
		t.Fatalf("the record: %v", err)
	}
	installed := map[string]int{}
	for i, row := range whole.Rows {
		e, err := audit.Decode(row.Line)
		if err != nil {
			t.Fatalf("the record: %v", err)
		}
		if e.Kind == audit.KindInstalled {
			installed[e.Job]++
		}
		if i < len(theirs) && theirs[i] != string(row.Line) {
			t.Errorf("entry %d is %s here, and at the server %s", i, row.Line, theirs[i])
		}
	}
	for _, r := range s.Records() {
		if finished := r.State == provision.StateFinished; finished != (installed[r.Job.ID] == 1) || installed[r.Job.ID] > 1 {
			t.Errorf("job %s is %s, and %d times on record as installed", r.Job.ID, r.State, installed[r.Job.ID])
		}
	}
}

// theirs are the lines that the server has of the station's record, which has size entries:
// those before from at least.
func (s *Station) theirs(from, size int64) []string {
	t := s.t
	t.Helper()
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
	if err != nil || len(theirs) == 0 || int64(len(theirs)) < from || int64(len(theirs)) > size || int64(len(theirs)) != records[0].Size {
		t.Fatalf("the server has %d of %d entries, of which the first %d are nowhere else, and says %d (%v)", len(theirs), size, from, records[0].Size, err)
	}
	return theirs
}
