package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// spareLook is how often it is looked how busy the server is.
	spareLook = 5 * time.Second
	// spareGrowth is by how many percent memory may grow between two collections while the
	// server has little to do; while it works hard it is what Go has by default.
	spareGrowth, workGrowth = 20, 100
)

// spare keeps memory small while stations only wait, until ctx is done: many connections
// and little garbage, so collections that are near each other cost next to nothing. A
// server that is busy collects as seldom as any. It is looked every so often. Who sets GOGC
// decides that himself.
func spare(ctx context.Context, every time.Duration) {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	tick := time.NewTicker(every)
	defer tick.Stop()
	growth := workGrowth
	for before := uint64(0); ; {
		metrics.Read(sample)
		made := sample[0].Value.Uint64() - before
		before += made
		want := workGrowth
		if made < sample[1].Value.Uint64()+sample[2].Value.Uint64() {
			want = spareGrowth
		}
		if want != growth {
			growth = want
			debug.SetGCPercent(growth)
			if growth == spareGrowth {
				debug.FreeOSMemory() // what was needed before is given back
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
