//go:build rig

package provision

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk names a folder on a disk that is too small, to the process that may fill it.
const smallDisk = "OUTBOX_SMALL_DISK"

// TestOutboxOnAFullDisk ends jobs and takes answers on a disk that is full, a real one in
// a mount namespace of its own: of what was said to be durable nothing is lost, of what
// was refused nothing is left, reports can be read meanwhile, and all goes on as soon as
// there is room.
func TestOutboxOnAFullDisk(t *testing.T) {
	if disk := os.Getenv(smallDisk); disk != "" {
		fillDisk(t, disk)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := `mount -t tmpfs -o size=4m,mode=700 tmpfs "$1" && ` + smallDisk + `="$1" "$2" -test.v -test.run '^TestOutboxOnAFullDisk$'`
	args := []string{"--mount", "sh", "-c", script, "sh", t.TempDir(), self}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	out, err := exec.CommandContext(t.Context(), "unshare", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// fillDisk has each write refused until there is just as much room as it needs.
func fillDisk(t *testing.T, disk string) {
	const jobs = 12
	path := filepath.Join(disk, "journal.db")
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	var records []*Record
	for n := 1; n <= jobs; n++ {
		rec, err := j.Create(sampleJob(n), 1, token(sampleJob(n).UnitID()))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, rec)
	}
	free := fill(t, filepath.Join(disk, "stuff"))
	ended, answered, refused := 0, 0, 0
	until := func(write func() error) {
		t.Helper()
		for err := write(); err != nil; err = write() {
			if !errors.Is(err, ErrJournal) {
				t.Fatalf("a full disk: %v", err)
			}
			refused++
			check(t, j, ended, answered)
			free(pageSize)
		}
	}
	for _, rec := range records {
		until(func() error { return endRecord(j, rec) })
		ended++
	}
	if refused < jobs {
		t.Fatalf("%d writes were refused: the disk was not full", refused)
	}
	reports, err := j.PendingReports(jobs)
	if err != nil || len(reports) != jobs {
		t.Fatalf("%d reports (%v)", len(reports), err)
	}
	for _, r := range reports[:jobs/2] {
		until(func() error { return j.ReportSent(r.ID, "INSTALLED") })
		answered++
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if j, err = OpenJournal(path); err != nil {
		t.Fatal(err)
	}
	check(t, j, ended, answered)
	t.Logf("%d writes were refused", refused)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

const pageSize = 4096

// fill leaves no room on a disk; what it returns frees some bytes.
func fill(t *testing.T, path string) (free func(room int64)) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, pageSize)
	for err == nil {
		_, err = f.Write(junk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func(room int64) {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Truncate(path, info.Size()-room)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// check: so many jobs have ended, each with a report, and so many of those were answered.
func check(t *testing.T, j *Journal, ended, answered int) {
	t.Helper()
	records, err := j.All()
	if err != nil {
		t.Fatal(err)
	}
	finished := 0
	for _, rec := range records {
		if rec.State == StateFinished {
			finished++
		}
	}
	waiting, err := j.CountPendingReports()
	if err != nil || finished != ended || waiting != ended-answered {
		t.Errorf("%d jobs have ended and %d reports wait (%v), wanted %d and %d", finished, waiting, err, ended, ended-answered)
	}
}
