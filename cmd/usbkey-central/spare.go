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
	spareLook = time.Second
	// spareGrowth is by how many percent memory may grow between two collections while the
	// server has little to do; while it works hard it is what Go has by default.
	spareGrowth, workGrowth = 10, 100
	// busyShare is the part of the memory in use, as one over it, that a server that works hard
	// makes of garbage in a second; after quietLooks in a row with less it has little to do.
	busyShare, quietLooks = 5, 5
	// connectionMakes is what a station's new connection makes of garbage with its first requests,
	// in bytes, and rather too much than too little.
	connectionMakes = 160 << 10
)

// spare keeps memory small while stations only wait, until ctx is done: many connections
// and little garbage, so collections that are near each other cost next to nothing. A
// server that is busy collects as seldom as any. It is looked every so often. Who sets GOGC
// decides that himself.
//
// A server to which many stations come at once is not busy for that: connected says how many
// have come. What a connection keeps would lie scattered among the garbage of the others, and
// the room between is not given back as long as they are open.
func spare(ctx context.Context, every time.Duration, connected func() int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	read := func() (made, inUse, connections int64) {
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64()), int64(sample[1].Value.Uint64() + sample[2].Value.Uint64()), connected()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	debug.SetGCPercent(spareGrowth)
	made, _, connections := read()
	for quiet := quietLooks; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		madeNow, inUse, connectionsNow := read()
		busy := (madeNow-made-(connectionsNow-connections)*connectionMakes)*busyShare >= inUse
		made, connections = madeNow, connectionsNow
		switch {
		case busy:
			if quiet == quietLooks {
				debug.SetGCPercent(workGrowth)
			}
			quiet = 0
		case quiet < quietLooks:
			if quiet++; quiet == quietLooks {
				debug.SetGCPercent(spareGrowth)
				debug.FreeOSMemory() // what was needed before is given back
			}
		}
	}
}
