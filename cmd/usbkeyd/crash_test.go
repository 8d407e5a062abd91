package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestKill9 kills the daemon again and again in the middle of a batch of 16, and
// lets it finish at last. Every unit is INSTALLED on a token of its own, the CA
// issued once for each, no token has two keys, no PIN lies about in clear.
func TestKill9(t *testing.T) {
	const keys = 16
	s := newStation(t, keys, "ec-p256")
	s.Central.Order(t, keys)
	log := filepath.Join(s.Dir, "usbkeyd.log")
	kills := 0
	// A batch makes about 140 journal entries; kill when there are so many.
	for _, entries := range []int{3, 18, 30, 45, 60, 75, 90, 105} {
		daemon := s.start(t.Context(), log, "run", "--drain", "--log", "-", "--log-level", "debug")
		ended := make(chan error, 1)
		go func() { ended <- daemon.Wait() }()
		done := false
		stationtest.Eventually(t, "the journal to grow", func() bool {
			select {
			case <-ended:
				done = true
				return true
			default:
				return s.Entries() >= entries
			}
		})
		if done {
			break
		}
		if err := daemon.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-ended
		kills++
	}
	if kills < 4 {
		t.Errorf("the daemon was killed %d times only, before it was done", kills)
	}
	last := s.start(t.Context(), log, "run", "--drain", "--log", "-", "--log-level", "debug", "--junit", filepath.Join(s.Dir, "junit.xml"))
	if err := last.Wait(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("the last run: %v\n%s", err, text)
	}
	t.Logf("killed %d times", kills)
	s.CheckBatch(keys)
	s.CheckNoPIN()
}

// TestTerminateStopsCleanly: SIGTERM in the middle ends with exit code 0 and leaves no job at work.
func TestTerminateStopsCleanly(t *testing.T) {
	const keys = 6
	s := newStation(t, keys, "rsa2048")
	s.Central.Order(t, keys)
	log := filepath.Join(s.Dir, "usbkeyd.log")
	daemon := s.start(t.Context(), log, "run", "--log", "-")
	stationtest.Eventually(t, "work to begin", func() bool { return s.Entries() >= keys })
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("after SIGTERM: %v\n%s", err, text)
	}
	_, out, _ := s.command("jobs", "list", "-o", "json")
	if strings.Contains(out, `"state": "running"`) || strings.Contains(out, `"state": "quarantined"`) {
		t.Errorf("jobs after the stop: %s", out)
	}
	if code, _, errOut := s.command("run", "--drain", "--log", filepath.Join(s.Dir, "drain.log")); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	s.CheckBatch(keys)
}

// TestChildrenEndWithTheDaemon: no process is left of a daemon that was killed.
func TestChildrenEndWithTheDaemon(t *testing.T) {
	s := newStation(t, 3, "rsa2048")
	s.Central.Order(t, 3)
	daemon := s.start(t.Context(), filepath.Join(s.Dir, "log"), "run")
	stationtest.Eventually(t, "children", func() bool { return len(children(t, daemon.Process.Pid)) >= 3 })
	all := children(t, daemon.Process.Pid)
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait() // killed
	stationtest.Eventually(t, "the children to end", func() bool {
		return !slices.ContainsFunc(all, func(pid string) bool {
			_, err := os.Stat("/proc/" + pid)
			return err == nil
		})
	})
}

func children(t testing.TB, pid int) []string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "ps", "-o", "pid=", "--ppid", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil // none
	}
	return strings.Fields(string(out))
}
