package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestChildMemory: a process of a module takes little, in the middle of its work too, so
// that a hub of 64 tokens fits on an office machine. What such a process does not need must
// not be initialised in it. Proportional set size (proc(5), smaps_rollup): its own
// pages, and its part of those that it shares with the others, of which there are some.
func TestChildMemory(t *testing.T) {
	const keys, most = 8, 8 << 10 // KiB
	s := newStation(t, keys, "rsa2048")
	s.Central.Order(t, keys)
	// The program itself: this one holds a central server as well.
	program := filepath.Join(t.TempDir(), "usbkeyd")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	ctx, stop := context.WithCancel(t.Context())
	daemon := s.startProgram(ctx, program, filepath.Join(s.Dir, "usbkeyd.log"), "run", "--log", "-")
	var all []int // of each look, the mean of the processes
	stationtest.Eventually(t, "half a batch, measured", func() bool {
		sum, n := 0, 0
		for _, pid := range children(t, daemon.Process.Pid) {
			if pss := memory(t, pid); pss > 0 {
				sum, n = sum+pss, n+1
			}
		}
		if n >= keys {
			all = append(all, sum/n)
		}
		return s.Entries() > 40 && len(all) >= 5
	})
	stop()
	_ = daemon.Wait() // killed
	slices.Sort(all)
	t.Logf("PSS of a module's process: median %d KiB, most %d KiB, of %d looks at a batch of them", all[len(all)/2], all[len(all)-1], len(all))
	if all[len(all)-1] > most {
		t.Errorf("a module's process takes %d KiB, want at most %d KiB", all[len(all)-1], most)
	}
}

var pssLine = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB$`)

// memory is the proportional set size of a module's process in KiB; 0 when it has ended,
// or is not one yet: until it executes the program it has its parent's memory.
func memory(t testing.TB, pid string) int {
	t.Helper()
	command, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil || !strings.HasPrefix(string(command), "usbkeyd-token-worker\x00") {
		return 0
	}
	text, err := os.ReadFile(filepath.Join("/proc", pid, "smaps_rollup"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	found := pssLine.FindSubmatch(text)
	if found == nil {
		return 0 // it is ending, and has no memory any more
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
