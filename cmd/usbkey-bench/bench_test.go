package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// All sides make their tokens, by the script that people use; how fast is not asked, so
// that bars may be missed. The patches of the side without record and statements must fit.
func TestSmallBench(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runs.json")
	cmd := exec.CommandContext(t.Context(), "scripts/bench", "--pairs", "1", "--tokens", "2", "--series", "ec,usb", "--json", file, "--out", filepath.Join(t.TempDir(), "out"))
	cmd.Dir = "../.."
	said, _ := cmd.CombinedOutput()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var got Report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{sideFloor, sideShell, sideStation, sideWithout} {
		runs := got.runs("ec", name)
		if len(runs) != 1 || runs[0].Tokens != 2 || runs[0].Wall <= 0 || runs[0].CPU <= 0 || runs[0].WholeCPU < runs[0].CPU {
			t.Errorf("%s: %+v", name, runs)
		}
	}
	floor, station := callsEach(got.runs("usb", sideFloor)), callsEach(got.runs("usb", sideStation))
	for name, want := range map[string]float64{"C_InitToken": 1, "C_GenerateKeyPair": 1, "C_CreateObject": 2, "C_Login": 2} {
		if floor[name] != want || station[name] < want {
			t.Errorf("%s: %g calls for a token by the floor, %g by the station; the floor takes %g", name, floor[name], station[name], want)
		}
	}
	if floor["C_FindObjects"] != 0 {
		t.Errorf("the floor looks something up: %v", floor)
	}
	// What the calls were told to take is counted as time inside.
	const least = (800 + 150 + 2*120 + 2*200 + 2*400 + 30 + 200) * time.Millisecond
	for _, name := range []string{sideFloor, sideStation} {
		if each := time.Duration(insideEach(got.runs("usb", name)[0])); each < least || each > 2*least {
			t.Errorf("%s is inside the module for %v a token, the calls that it must make take %v", name, each, least)
		}
	}
	if !strings.Contains(string(said), "tokens/s ÷ shell loop, P-256") {
		t.Errorf("printed\n%s", said)
	}
}

func TestMedian(t *testing.T) {
	for _, row := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{9, 1, 5, 100}, 7},
	} {
		if got := median(row.values); got != row.want {
			t.Errorf("the median of %v is %g", row.values, got)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %g", got)
	}
	given := []float64{3, 1, 2}
	median(given)
	if given[0] != 3 {
		t.Errorf("the order of the runs is lost: %v", given)
	}
}

// A ratio is that of a pair, not of two medians: what befalls one pair falls out of it.
func TestRatiosAreOfPairs(t *testing.T) {
	run := func(ms int) Run { return Run{Tokens: 1, Wall: time.Duration(ms) * time.Millisecond} }
	station := []Run{run(10), run(200), run(30)}
	floor := []Run{run(5), run(100), run(10), run(1)} // the last one has no other half
	got := ratios(station, floor, wall)
	if len(got) != 3 || got[0] != 2 || got[1] != 2 || got[2] != 3 {
		t.Errorf("got %v", got)
	}
	if m := median(got); m != 2 {
		t.Errorf("their median is %g", m)
	}
}

func TestTogether(t *testing.T) {
	runs := []Run{{Tokens: 10, Wall: time.Second}, {Tokens: 10, Wall: 4 * time.Second}}
	if got := together(runs); got != 4 { // not the 6.25 that the mean of both would be
		t.Errorf("%g tokens/s", got)
	}
	if got := together(nil); !math.IsNaN(got) {
		t.Errorf("%g tokens/s of none", got)
	}
}

func TestBarsPassAndMiss(t *testing.T) {
	for _, row := range []struct {
		bar  bar
		want string
	}{
		{bar{value: 2.5, limit: 2.5, pairs: 10}, "pass"},
		{bar{value: 2.51, limit: 2.5, pairs: 10}, "MISS"},
		{bar{value: 0.4, limit: 0.4, least: true, pairs: 10}, "pass"},
		{bar{value: 0.39, limit: 0.4, least: true, pairs: 10}, "MISS"},
		{bar{value: math.NaN(), limit: 1, pairs: 1}, "MISS"},
		{bar{value: math.NaN(), limit: 1, least: true, pairs: 1}, "MISS"},
		{bar{value: math.NaN(), limit: 1}, "—"},
	} {
		if got := row.bar.verdict(); got != row.want {
			t.Errorf("%+v: %s, want %s", row.bar, got, row.want)
		}
	}
}

// sample is a report of so many pairs: the station takes twice the floor's time and three
// times its processor.
func sample(pairs int) Report {
	r := Report{Pairs: pairs, Tokens: wholeHub, Machine: Machine{Processor: "sample processor", Build: "usbkeyd sample"}}
	for _, s := range allSeries(wholeHub) {
		one := Series{Name: s.name}
		for _, side := range s.sides {
			run := Run{Tokens: side.work.tokens, Wall: time.Second, CPU: 100 * time.Millisecond, WholeCPU: 100 * time.Millisecond, Inside: time.Second, Calls: map[string]int{"C_Login": side.work.tokens}, ChildMemory: 5e6}
			if side.name == sideStation || side.name == sideWithout {
				run.Wall, run.CPU, run.WholeCPU, run.ServerCPU = 2*time.Second, 300*time.Millisecond, 400*time.Millisecond, time.Millisecond
			}
			done := Side{Name: side.name}
			for range pairs {
				done.Runs = append(done.Runs, run)
			}
			one.Sides = append(one.Sides, done)
		}
		r.Series = append(r.Series, one)
	}
	return r
}

// Every bar is about the sides that it names, the right way up.
func TestBarsOfAReport(t *testing.T) {
	want := map[string]struct {
		value   float64
		verdict string
	}{
		"CPU per token ÷ floor, P-256, a station in service":                 {3, "MISS"},
		"the same, the daemon's start included":                              {4, "MISS"},
		"tokens/s ÷ floor, P-256":                                            {0.5, "pass"},
		"tokens/s ÷ shell loop, P-256":                                       {0.5, "MISS"},
		"tokens/s ÷ shell loop, RSA-2048":                                    {0.5, "MISS"},
		"tokens/s ÷ floor, RSA-2048, all tokens of a side together":          {0.5, "MISS"},
		"wall ÷ one token, 16 tokens of 3 s key generation":                  {1, "pass"},
		"wall ÷ one token, 64 tokens of 3 s key generation":                  {1, "pass"},
		"wall ÷ floor, USB-like, 16 tokens at once":                          {2, "MISS"},
		"time inside the module per token ÷ floor, USB-like":                 {1, "pass"},
		"memory per live child (PSS), 64 at work":                            {5, "pass"},
		"CPU per token with record, statements and sealing ÷ without, P-256": {1, "pass"},
	}
	r := sample(enoughPairs)
	bars := r.bars()
	if len(bars) != len(want) {
		t.Errorf("%d bars, want %d", len(bars), len(want))
	}
	for _, b := range bars {
		w, known := want[b.work]
		if !known || b.value != w.value || b.verdict() != w.verdict || b.pairs != enoughPairs {
			t.Errorf("%s: %g of %d pairs, %s; want %g, %s", b.work, b.value, b.pairs, b.verdict(), w.value, w.verdict)
		}
	}
	var out strings.Builder
	if err := r.printBars(&out); err == nil || !strings.Contains(err.Error(), "bars missed: 6") {
		t.Errorf("the missed bars end in %v", err)
	}
	// What was not measured is neither met nor missed.
	r.Series = r.Series[:0]
	if err := r.printBars(&out); err != nil {
		t.Error(err)
	}
}

func TestDocument(t *testing.T) {
	dir := t.TempDir()
	doc, plot := filepath.Join(dir, "benchmarks.md"), filepath.Join(dir, "images.svg")
	if err := sample(enoughPairs).document(doc, plot); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| tokens/s ÷ floor, P-256 | **0.50** | ≥ 0.4, aim 0.9 | pass |", "](images.svg)", "sample processor", "| C_Login | 1.0 | 1.0 |", "32.0 (32.0 to 32.0)"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document lacks %q:\n%s", want, text)
		}
	}
	drawn, err := os.ReadFile(plot)
	if err != nil || !strings.Contains(string(drawn), "<svg") || !strings.Contains(string(drawn), sideStation) {
		t.Errorf("the plot: %v, %d bytes", err, len(drawn))
	}
	// Nothing is written down that too few pairs or tokens were run for.
	few := filepath.Join(dir, "few.md")
	if err := sample(enoughPairs-1).document(few, plot); err == nil {
		t.Error("a document was written of too few pairs")
	}
	small := sample(enoughPairs)
	small.Tokens = 8
	if err := small.document(few, plot); err == nil {
		t.Error("a document was written of too few tokens")
	}
	if _, err := os.Stat(few); err == nil {
		t.Error("something was written")
	}
}

// Calls of before the order and those of a process are not a token's.
func TestCallsOfTheShim(t *testing.T) {
	r := Run{Calls: map[string]int{}}
	text := "C_Initialize 200 5000\nC_GetSlotList 50 1000\nC_Sign? 150 10\nC_Sign 200 300\nC_Sign 300 400\n"
	if err := addCalls(&r, text, 100); err != nil {
		t.Fatal(err)
	}
	if r.Inside != 710 || len(r.Calls) != 2 || r.Calls["C_Sign"] != 2 || r.Calls["C_Sign?"] != 1 {
		t.Errorf("got %+v", r)
	}
	for _, broken := range []string{"C_Sign 200", "C_Sign x 1\n"} {
		if err := addCalls(&r, broken, 0); err == nil {
			t.Errorf("%q was taken", broken)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range [][]string{
		{"--pairs", "0"}, {"--tokens", "65"}, {"--series", "ec,x"}, {"--doc", "d.md"}, {"--doc", "d.md", "--plot", "p.svg", "--pairs", "9"},
		{"--doc", "d.md", "--plot", "p.svg", "--series", "ec"}, {"--doc", "d.md", "--plot", "p.svg", "--tokens", "8"}, {"more"},
	} {
		if _, err := parse(args, &strings.Builder{}); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
