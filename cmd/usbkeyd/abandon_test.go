package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestAbandon: a job whose token is lost is given up, and its unit is written on
// another token.
func TestAbandon(t *testing.T) {
	var s *station
	var out string
	for try := 0; !strings.Contains(out, "-g1-1"); try++ {
		if try == 5 {
			t.Fatalf("no job was parked by a stop in %d tries: %s", try, out)
		}
		s = newStation(t, 2, "rsa4096") // slow enough to be stopped in the middle
		s.Central.Order(t, 1)
		out = s.stopInTheMiddle()
	}
	job := strings.Fields(strings.Split(out, "\n")[1])[0]
	code, _, errOut := s.command("jobs", "abandon", job)
	if code != exitUsage || !strings.Contains(errOut, "--yes --token-serial") {
		t.Fatalf("without a word of assurance: exit code %d: %s", code, errOut)
	}
	_, serial, _ := strings.Cut(strings.TrimSpace(errOut), "--token-serial ")
	if code, _, errOut := s.command("jobs", "abandon", job, "--yes", "--token-serial", "0000"); code != exitUsage {
		t.Errorf("with another serial: exit code %d: %s", code, errOut)
	}
	if code, out, errOut := s.command("jobs", "abandon", job, "--yes", "--token-serial", serial); code != exitOK || !strings.Contains(out, "quarantined") {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	if code, _, errOut := s.command("run", "--drain", "--log", filepath.Join(s.Dir, "drain.log")); code != exitOK {
		t.Errorf("run: exit code %d: %s", code, errOut)
	}
	if u := s.Central.Units(t)[0]; u.State != api.INSTALLED || *u.TokenSerial == serial {
		t.Errorf("unit: %+v", u)
	}
}

// stopInTheMiddle starts the daemon, stops it once a key is being generated, and lists the parked jobs.
func (s *station) stopInTheMiddle() string {
	t := s.t
	t.Helper()
	daemon := s.start(t.Context(), filepath.Join(s.Dir, "log"), "run")
	stationtest.Eventually(t, "work to begin", func() bool { return s.Entries() >= 4 })
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Fatal(err)
	}
	_, out, _ := s.command("jobs", "list", "--state", "parked")
	return out
}
