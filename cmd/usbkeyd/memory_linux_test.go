package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/internal/wording"
	"golang.org/x/sys/unix"
)

// TestMemoryIsShut asks a process that shut its memory, as it is for good.
func TestMemoryIsShut(t *testing.T) {
	const inside = "USBKEYD_TEST_SHUT_MEMORY"
	if os.Getenv(inside) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestMemoryIsShut$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := shutMemory(); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("core dumps may have %+v (%v)", limit, err)
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		t.Errorf("dumpable is %d (%v)", dumpable, err)
	}
}

// TestDaemonShutsItsMemory before it starts modules, which it still can: a process
// that is shut may execute its own image.
func TestDaemonShutsItsMemory(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	log := filepath.Join(s.Dir, "log")
	daemon := s.start(t.Context(), log, "run", "--log", "-")
	stationtest.Eventually(t, "a module's process", func() bool { return len(children(t, daemon.Process.Pid)) > 0 })
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", daemon.Process.Pid))
	if err != nil || !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
		t.Errorf("the daemon's limits are (%v)\n%s", err, limits)
	}
	// What is in /proc of a process that is shut belongs to root.
	if info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", daemon.Process.Pid)); err != nil {
		t.Error(err)
	} else if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
		t.Errorf("the daemon's memory is open to its user: %+v", info.Sys())
	}
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("%v\n%s", err, text)
	}
}

// TestNoSecretWithoutAShutMemory: what cannot shut its memory does not begin.
func TestNoSecretWithoutAShutMemory(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	refused := errors.New("the system refuses")
	var out lines
	code := execute([]string{"--config", s.Config, "run", "--drain"}, os.Stdin, &out, &out, wording.Words{}, func() error { return refused })
	if _, err := os.Stat(filepath.Join(s.Dir, "state")); code != exitFailure || err == nil {
		t.Errorf("exit code %d, state folder %v", code, err)
	}
}
