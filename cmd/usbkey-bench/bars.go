package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// bar is a figure and what it must be.
type bar struct {
	work  string
	value float64 // NaN when it was not measured
	pairs int
	limit float64
	aim   float64 // 0 for none
	// least: the value must be the limit at least; otherwise at most.
	least bool
	unit  string
}

func (b bar) passed() bool {
	if b.least {
		return b.value >= b.limit // NaN is not
	}
	return b.value <= b.limit
}

// wanted is the limit and the aim in words.
func (b bar) wanted() string {
	sign := "≤"
	if b.least {
		sign = "≥"
	}
	text := fmt.Sprintf("%s %.4g%s", sign, b.limit, b.unit)
	if b.aim != 0 {
		text += fmt.Sprintf(", aim %.4g", b.aim)
	}
	return text
}

func (b bar) figure() string {
	if math.IsNaN(b.value) {
		return "not measured"
	}
	return fmt.Sprintf("%.2f%s", b.value, b.unit)
}

func (b bar) verdict() string {
	switch {
	case b.pairs == 0:
		return "—"
	case b.passed():
		return "pass"
	}
	return "MISS"
}

// A figure of one run.
func cpuEach(r Run) float64      { return float64(r.CPU) / float64(r.Tokens) }
func wholeCPUEach(r Run) float64 { return float64(r.WholeCPU) / float64(r.Tokens) }
func insideEach(r Run) float64   { return float64(r.Inside) / float64(r.Tokens) }
func wall(r Run) float64         { return float64(r.Wall) }

// bars are all that there are.
func (r Report) bars() []bar {
	ec := func(side string) []Run { return r.runs("ec", side) }
	rsa := func(side string) []Run { return r.runs("rsa", side) }
	slow := func(side string) []Run { return r.runs("slow", side) }
	usb := func(side string) []Run { return r.runs("usb", side) }
	paired := func(a, b []Run, figure func(Run) float64) (float64, int) {
		return median(ratios(a, b, figure)), min(len(a), len(b))
	}
	row := func(b bar, value float64, pairs int) bar {
		b.value, b.pairs = value, pairs
		return b
	}
	var all []bar
	add := func(b bar, x, y []Run, figure func(Run) float64) {
		value, pairs := paired(x, y, figure)
		all = append(all, row(b, value, pairs))
	}
	add(bar{work: "CPU per token ÷ floor, P-256, a station in service", limit: 2.5, aim: 1.5}, ec(sideStation), ec(sideFloor), cpuEach)
	add(bar{work: "the same, the daemon's start included", limit: 2.5, aim: 1.5}, ec(sideStation), ec(sideFloor), wholeCPUEach)
	add(bar{work: "tokens/s ÷ floor, P-256", limit: 0.4, aim: 0.9, least: true}, ec(sideStation), ec(sideFloor), Run.perSecond)
	add(bar{work: "tokens/s ÷ shell loop, P-256", limit: 4, aim: 10, least: true}, ec(sideStation), ec(sideShell), Run.perSecond)
	add(bar{work: "tokens/s ÷ shell loop, RSA-2048", limit: 1.25, least: true}, rsa(sideStation), rsa(sideShell), Run.perSecond)
	// Key generation varies by half of its mean, so all tokens of a side count together.
	all = append(all, row(bar{work: "tokens/s ÷ floor, RSA-2048, all tokens of a side together", limit: 0.9, least: true},
		together(rsa(sideStation))/together(rsa(sideFloor)), min(len(rsa(sideStation)), len(rsa(sideFloor)))))
	add(bar{work: "wall ÷ one token, 16 tokens of 3 s key generation", limit: 1.10, aim: 1.05}, slow(sideSome), slow(sideOne), wall)
	add(bar{work: "wall ÷ one token, 64 tokens of 3 s key generation", limit: 1.30, aim: 1.15}, slow(sideAll), slow(sideOne), wall)
	add(bar{work: "wall ÷ floor, USB-like, 16 tokens at once", limit: 1.10}, usb(sideStation), usb(sideFloor), wall)
	add(bar{work: "time inside the module per token ÷ floor, USB-like", limit: 1.15}, usb(sideStation), usb(sideFloor), insideEach)
	all = append(all, row(bar{work: "memory per live child (PSS), 64 at work", limit: 8, aim: 4, unit: " MB"},
		median(each(slow(sideAll), func(r Run) float64 { return float64(r.ChildMemory) / 1e6 })), len(slow(sideAll))))
	add(bar{work: "CPU per token with record, statements and sealing ÷ without, P-256", limit: 1.15}, ec(sideStation), ec(sideWithout), cpuEach)
	return all
}

// printBars prints every bar with its figure; an error when one was missed.
func (r Report) printBars(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "WORK\tFIGURE\tBAR\tPAIRS\t")
	missed := 0
	for _, b := range r.bars() {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", b.work, b.figure(), b.wanted(), b.pairs, b.verdict())
		if b.pairs > 0 && !b.passed() {
			missed++
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("bars missed: %d", missed)
	}
	return nil
}

// ratios are those of the pairs: the n-th run of one side by the n-th of the other.
func ratios(a, b []Run, figure func(Run) float64) []float64 {
	var all []float64
	for i := range min(len(a), len(b)) {
		all = append(all, figure(a[i])/figure(b[i]))
	}
	return all
}

func each(runs []Run, figure func(Run) float64) []float64 {
	var all []float64
	for _, r := range runs {
		all = append(all, figure(r))
	}
	return all
}

// together is how many tokens a second all runs made, the slow ones counting for longer.
func together(runs []Run) float64 {
	tokens, took := 0, time.Duration(0)
	for _, r := range runs {
		tokens, took = tokens+r.Tokens, took+r.Wall
	}
	return float64(tokens) / took.Seconds() // NaN for none
}

// median is the middle one, the mean of the middle two of an even number, NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}
