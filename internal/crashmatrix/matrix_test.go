package crashmatrix

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// Variables of the environment: CRASHES=all runs every point and sampled pairs, not
// the fixed part; CRASH_SEED repeats the pairs of an earlier run, CRASH_PAIRS says how
// many; CRASH_CELL runs the one cell of that name.
const (
	allCrashes = "CRASHES"
	crashSeed  = "CRASH_SEED"
	crashPairs = "CRASH_PAIRS"
	crashCell  = "CRASH_CELL"
)

// samplePairs is how many pairs are drawn.
const samplePairs = 60

// elsewhere says why no cell reaches a label that is listed.
func elsewhere() map[crashpoint.Label]string {
	return map[crashpoint.Label]string{
		"revoke station *": "no command of the server leads to it",
		"hold unit *":      "the development CA refuses nothing that the server lets through",
	}
}

// matrix gathers what cells find.
type matrix struct {
	mu       sync.Mutex
	ran      int
	held     int
	reached  map[crashpoint.Label]bool
	killed   map[crashpoint.Label]map[string]int // by label and moment
	recovery map[string][]point                  // by the name of a cell: what its last run passed
}

func newMatrix() *matrix {
	return &matrix{reached: map[crashpoint.Label]bool{}, killed: map[crashpoint.Label]map[string]int{}, recovery: map[string][]point{}}
}

// TestCrashAtEveryPoint kills each program before and after everything that it cannot
// take back, one point a cell, and pairs of points.
func TestCrashAtEveryPoint(t *testing.T) {
	if name := os.Getenv(crashCell); name != "" {
		one, err := parseCell(name)
		if err != nil {
			t.Fatal(err)
		}
		m := newMatrix()
		m.cells(t, "one cell", []cell{one})
		m.print()
		return
	}
	m := newMatrix()
	all := os.Getenv(allCrashes) == "all"
	var cells []cell
	normal := map[program]map[crashpoint.Label]bool{daemon: {}, central: {}}
	for _, p := range []program{daemon, central} {
		for i, set := range settings(p) {
			if i > 0 && !all {
				break
			}
			cells = append(cells, m.points(t, p, set, normal[p], all)...)
		}
	}
	if t.Failed() {
		t.FailNow() // an undisturbed life is not even well
	}
	m.cells(t, "one kill", cells)
	if all {
		m.cells(t, "a label of recovery", m.recoveries(cells, normal))
		m.cells(t, "pairs", m.pairs(t, cells))
		m.checkReached(t)
	}
	m.print()
	if m.held != m.ran {
		t.Errorf("%d of %d points did not hold", m.ran-m.held, m.ran)
	}
}

// points lives an undisturbed life and makes a cell of every point that it passes. A
// fixed part takes of each label the first time, and the two moments in turn.
func (m *matrix) points(t *testing.T, p program, set setting, seen map[crashpoint.Label]bool, all bool) (cells []cell) {
	before := maps.Clone(seen)
	t.Run(cell{program: p, setting: set}.String(), func(t *testing.T) {
		runs, labels := cell{program: p, setting: set}.run(t)
		maps.Copy(m.reached, labels)
		last := runs[len(runs)-1]
		for _, k := range killable(last) {
			if before[k.label] && !set.whole() {
				continue
			}
			turn := []string{crashpoint.BeforeIt, crashpoint.AfterIt}[len(seen)%2]
			if !all && (seen[k.label] || k.n > 1 || k.moment != turn) {
				continue
			}
			cells = append(cells, cell{p, set, []point{k}})
			seen[k.label] = true
		}
	})
	return cells
}

// cells runs them, side by side.
func (m *matrix) cells(t *testing.T, name string, cells []cell) {
	t.Run(name, func(t *testing.T) {
		for _, c := range cells {
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				t.Cleanup(func() { m.ended(c, !t.Failed()) })
				runs, labels := c.run(t)
				m.mu.Lock()
				defer m.mu.Unlock()
				maps.Copy(m.reached, labels)
				m.recovery[c.String()] = runs[len(runs)-1]
			})
		}
	})
}

func (m *matrix) ended(c cell, held bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ran++
	if held {
		m.held++
	}
	for _, k := range c.kills {
		if m.killed[k.label] == nil {
			m.killed[k.label] = map[string]int{}
		}
		m.killed[k.label][k.moment]++
	}
}

// recoveries are pairs that kill a program at labels that it passes only while it
// recovers.
func (m *matrix) recoveries(cells []cell, normal map[program]map[crashpoint.Label]bool) (out []cell) {
	taken := map[string]bool{}
	for _, c := range cells {
		for _, k := range killable(m.recovery[c.String()]) {
			key := string(c.program) + " " + k.moment + " " + string(k.label)
			if k.n == 1 && !normal[c.program][k.label] && !taken[key] {
				taken[key] = true
				out = append(out, cell{c.program, c.setting, append(slices.Clone(c.kills), k)})
			}
		}
	}
	return out
}

// pairs draws pairs of a point and another one that the recovery from it passes.
func (m *matrix) pairs(t *testing.T, cells []cell) (out []cell) {
	seed := uint64(time.Now().UnixNano())
	n := samplePairs
	if text := os.Getenv(crashSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv(crashPairs); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	taken := map[string]bool{}
	for tries := 0; len(out) < n && tries < 20*n; tries++ {
		c := cells[random.IntN(len(cells))]
		second := killable(m.recovery[c.String()])
		if len(second) == 0 {
			continue
		}
		pair := cell{c.program, c.setting, append(slices.Clone(c.kills), second[random.IntN(len(second))])}
		if !taken[pair.String()] {
			taken[pair.String()] = true
			out = append(out, pair)
		}
	}
	fmt.Printf("%d pairs, seed %d (%s=%d draws them again)\n", len(out), seed, crashSeed, seed)
	return out
}

// checkReached: each label was killed at on both sides, save those that say why not.
func (m *matrix) checkReached(t *testing.T) {
	t.Helper()
	for _, l := range append(crashpoint.Daemon(), crashpoint.Central()...) {
		why, excused := elsewhere()[l]
		switch {
		case excused && m.reached[l]:
			t.Errorf("label %q was reached, though %s", l, why)
		case !excused && !m.reached[l]:
			t.Errorf("label %q was never reached", l)
		case !excused && (m.killed[l][crashpoint.BeforeIt] == 0 || m.killed[l][crashpoint.AfterIt] == 0):
			t.Errorf("label %q was reached, and never killed at before or after", l)
		}
	}
}

func (m *matrix) print() {
	fmt.Printf("%-52s %7s %7s\n", "killed at", "before", "after")
	for _, l := range append(crashpoint.Daemon(), crashpoint.Central()...) {
		if k := m.killed[l]; k != nil {
			fmt.Printf("%-52s %7d %7d\n", l, k[crashpoint.BeforeIt], k[crashpoint.AfterIt])
		}
	}
	for l, why := range elsewhere() {
		fmt.Printf("%-52s not reached: %s\n", l, why)
	}
	fmt.Printf("%d points, %d held\n", m.ran, m.held)
}
