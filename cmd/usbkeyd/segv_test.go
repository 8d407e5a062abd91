package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestModuleCrashes: processes of modules die of SIGSEGV in the middle of a batch, as
// they do when a vendor's library reads where it must not. The daemon stays up, and
// all units are INSTALLED, each with one certificate and one key.
func TestModuleCrashes(t *testing.T) {
	const keys = 8
	s := newStation(t, keys, "rsa2048")
	s.Central.Order(t, keys)
	log := filepath.Join(s.Dir, "usbkeyd.log")
	daemon := s.start(t.Context(), log, "run", "--drain", "--log", "-", "--log-level", "debug")
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()

	crashed := 0
	// SoftHSM's C_InitToken writes a token whose SO PIN is locked before it writes the PIN: one
	// that dies in between is lost, and its unit waits for another token.
	stationtest.Eventually(t, "all tokens to be initialised", func() bool {
		return stationtest.Count(s.Journal(), "SELECT COUNT(*) FROM job WHERE token_serial <> ''") == keys
	})
	// A batch makes some 40 journal entries from then on; a crash when there are so many.
	begun := s.Entries()
	for _, more := range []int{0, 6, 12, 18, 24} {
		entries := begun + more
		over := false
		stationtest.Eventually(t, "the journal to grow", func() bool {
			over = len(ended) > 0
			return over || s.Entries() >= entries
		})
		pids := children(t, daemon.Process.Pid)
		if over || len(pids) == 0 {
			continue
		}
		if crash(t, pids[crashed%len(pids)]) {
			crashed++
		}
	}
	if err := <-ended; err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("run --drain: %v\n%s", err, text)
	}
	if crashed < 3 {
		t.Errorf("%d processes crashed only, before the batch was done", crashed)
	}
	t.Logf("%d processes of modules crashed", crashed)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "segmentation fault") {
		t.Error("no crash in the middle of a call is in the log: the signals came when nothing was under way")
	}
	s.CheckBatch(keys)
}

// crash has a child of the daemon die; false when it had ended already.
func crash(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	err = syscall.Kill(n, syscall.SIGSEGV)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	return err == nil
}
