package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
)

// BenchmarkBatch writes a batch of SoftHSM tokens by a daemon in a process of its own and
// reports what that process and those of the modules use of the processor for each token;
// the central server and its CA are in another process.
func BenchmarkBatch(b *testing.B) {
	const tokens = 64
	for b.Loop() {
		s := newStationAt(b, centraltest.New(b, nil), tokens, "ec-p256")
		s.Central.Order(b, tokens)
		log := filepath.Join(s.Dir, "log")
		begun := time.Now()
		daemon := s.start(b.Context(), log, "run", "--drain", "--log", "-")
		if err := daemon.Wait(); err != nil {
			text, _ := os.ReadFile(log)
			b.Fatalf("%v\n%s", err, text)
		}
		took := time.Since(begun)
		used, ok := daemon.ProcessState.SysUsage().(*syscall.Rusage) // with that of all children that it waited for
		if !ok {
			b.Fatal("the system does not say what a process used")
		}
		cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
		b.ReportMetric(float64(cpu.Microseconds())/1000/tokens, "cpu-ms/token")
		b.ReportMetric(tokens/took.Seconds(), "tokens/s")
		if n := len(s.Central.Units(b)); n != tokens {
			b.Fatal(fmt.Sprint(n, " units"))
		}
	}
}
