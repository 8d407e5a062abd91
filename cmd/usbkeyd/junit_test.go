package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestReportThatCannotBeWritten: its folder goes while the daemon works. That is told
// when the daemon is asked to stop, and is not taken for the server's fault.
func TestReportThatCannotBeWritten(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	folder := filepath.Join(s.Dir, "reports")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(s.Dir, "log")
	daemon := s.start(t.Context(), log, "run", "--log", "-", "--junit", filepath.Join(folder, "junit.xml"))
	said := func() string {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	stationtest.Eventually(t, "the start", func() bool { return strings.Contains(said(), "usbkeyd starts") })
	if err := os.Remove(folder); err != nil { // fails unless it is empty
		t.Fatal(err)
	}
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := daemon.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailure || !strings.Contains(said(), "usbkeyd: JUnit report:") {
		t.Errorf("ended with %v, want exit code %d:\n%s", err, exitFailure, said())
	}
	if !strings.Contains(said(), `"config":"`+s.Config+`"`) {
		t.Errorf("the log does not say which configuration was read:\n%s", said())
	}
}
