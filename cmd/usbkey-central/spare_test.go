package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"
)

// Memory may grow little while there is little to do, or stations come, and as Go has it while
// there is much.
func TestSpare(t *testing.T) {
	t.Setenv("GOGC", "") // as if it were not set
	before := debug.SetGCPercent(workGrowth)
	defer debug.SetGCPercent(before)
	const every = 20 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	var connected atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		spare(ctx, every, connected.Load)
	}()
	inUse := make([]byte, 16<<20) // beside which the one connection that a look may see too early or late is nothing
	var kept []byte
	growth := func() int {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return int(sample[0].Value.Uint64())
	}
	await := func(want int, do func()) {
		t.Helper()
		for begun := time.Now(); growth() != want; do() {
			if time.Since(begun) > 30*time.Second {
				t.Fatalf("memory may grow by %d percent, want %d", growth(), want)
			}
		}
	}
	await(spareGrowth, func() { time.Sleep(every) })
	await(workGrowth, func() { kept = make([]byte, 1<<20) })
	await(spareGrowth, func() { time.Sleep(every) })
	for begun := time.Now(); time.Since(begun) < 20*every; {
		connected.Add(1)
		kept = make([]byte, connectionMakes)
		if got := growth(); got != spareGrowth {
			t.Fatalf("memory may grow by %d percent while stations come", got)
		}
	}
	stop()
	<-ended
	runtime.KeepAlive(inUse)
	runtime.KeepAlive(kept)
	t.Setenv("GOGC", "50")
	debug.SetGCPercent(50)
	spare(t.Context(), every, connected.Load) // and it ends at once
	if got := growth(); got != 50 {
		t.Errorf("memory may grow by %d percent where GOGC is 50", got)
	}
}
