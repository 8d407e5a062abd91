package main

import "time"

// Report is everything that was measured.
type Report struct {
	At      time.Time
	Took    time.Duration
	Pairs   int
	Tokens  int // of a side, at most
	Machine Machine
	Series  []Series
}

// Series are sides that were run in turn.
type Series struct {
	Name       string
	LoadBefore float64 // the system's load average when it began
	Sides      []Side
}

// Side is one way of making tokens, run once for each pair.
type Side struct {
	Name string
	Runs []Run
}

// Run is one batch of tokens.
type Run struct {
	Tokens int
	// Wall is how long the batch took. Of a station that is in service: from the order until
	// the last unit was INSTALLED.
	Wall time.Duration
	// CPU is the processor time of the processes that made it. Of a station: the daemon and its
	// children, from the order until the daemon has ended: it makes its statements last.
	CPU time.Duration
	// WholeCPU is a station's from its start to its end.
	WholeCPU time.Duration `json:",omitzero"`
	// ServerCPU is that of the server with its CA, from its start to its end.
	ServerCPU time.Duration `json:",omitzero"`
	// Inside is the time in the module, of all tokens, and Calls are those that took it; where
	// the module is the shim.
	Inside time.Duration  `json:",omitzero"`
	Calls  map[string]int `json:",omitzero"`
	// ChildMemory is the mean of the children, in bytes, where it was looked at.
	ChildMemory int64 `json:",omitzero"`
}

func (r Run) perSecond() float64 { return float64(r.Tokens) / r.Wall.Seconds() }

// runs of a side; none when it was not measured.
func (r Report) runs(series, side string) []Run {
	for _, s := range r.Series {
		for _, one := range s.Sides {
			if s.Name == series && one.Name == side {
				return one.Runs
			}
		}
	}
	return nil
}
