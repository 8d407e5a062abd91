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
	spareGrowth, workGrowth = 20, 100
	// busyLooks in a row make a server one that works hard, calmLooks one that rests. All
	// stations that come back at once are greeted in less: what lasts as long as a connection
	// would lie scattered among what a handshake leaves behind, if that were not collected early.
	busyLooks, calmLooks = 3, 5
	// busyTurnover is within how many seconds a server that works hard makes as much anew as
	// it keeps.
	busyTurnover = 5
)

// pace is how hard a server works, judged look by look.
type pace struct{ busy, calm int } // looks in a row

// look takes what one look says. It returns true for hard when the server has come to work
// hard, and true for rest when it has come to rest after any look that was busy.
func (p *pace) look(busy bool) (hard, rest bool) {
	if busy {
		p.busy, p.calm = p.busy+1, 0
		return p.busy == busyLooks, false
	}
	p.busy, p.calm = 0, p.calm+1
	return false, p.calm == calmLooks
}

// spare keeps memory small while stations only wait, until ctx is done: many connections
// and little garbage, so collections that are near each other cost next to nothing. A
// server that is busy collects as seldom as any. Who sets GOGC decides that himself.
func spare(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(spareGrowth)
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(sample)
	tick := time.NewTicker(spareLook)
	defer tick.Stop()
	for p, before := (pace{}), sample[0].Value.Uint64(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(sample)
		made := sample[0].Value.Uint64() - before
		before += made
		hard, rest := p.look(made*busyTurnover > sample[1].Value.Uint64()+sample[2].Value.Uint64())
		if hard {
			debug.SetGCPercent(workGrowth)
		}
		if rest {
			debug.SetGCPercent(spareGrowth)
			debug.FreeOSMemory() // what was needed before is given back
		}
	}
}
