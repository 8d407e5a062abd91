package provision

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// A fault at every call: a job is run undisturbed, and its PKCS#11 calls are counted.
// Then, for each call and each way in which a call can go wrong, the job is run with
// that one fault and let recover as the agent does (fault_cell_test.go). What must
// always hold is then looked at with eyes of its own (fault_check_test.go).
//
// scripts/fault-matrix runs all of it. By default a part is run: the calls that write
// a token for good, and of the others every so manieth.

// allFaults is set in the environment to "all" to have every cell run.
const allFaults = "FAULTS"

// fault is a way in which a call goes wrong.
type fault struct {
	name string
	// rule is the shim's; %d is the number of the call.
	rule string
}

// Faults that take more than a rule: a hang a deadline, and what is not over with the
// call somebody who puts it right.
const (
	hang = "hang"
	// swapped: from the call on the slot ids of the job's token and of its neighbour are
	// exchanged, until the job has stopped.
	swapped = "swapped"
)

func faults() []fault {
	return []fault{
		{"device error", "*#%d return 0x30"},
		{"device removed", "*#%d return 0x32"},
		{"not recognised", "*#%d return 0xe1"},
		{"session invalid", "*#%d return 0xb3"},
		{"general error", "*#%d return 0x05"},
		{hang, "*#%d hang"},
		{"crash", "*#%d segv"},
		{"done but error", "*#%d then 0x30"},
		{"done but crash", "*#%d then-segv"},
		{swapped, "swap#%d %s %s"},
	}
}

// cell is one fault at one call.
type cell struct {
	scene *scene
	fault fault
	n     int    // the call, from 1
	call  string // its name
}

func (c cell) name() string {
	name := fmt.Sprintf("%s/%s/%03d-%s", c.scene.name, c.fault.name, c.n, c.call)
	return strings.ReplaceAll(name, " ", "-")
}

func TestFaultAtEveryCall(t *testing.T) {
	// The journals of thousands of jobs are kept in memory, as their tokens are.
	t.Setenv("TMPDIR", pkcs11test.NewBay(t).Dir)
	work := make([]*lane, lanes)
	for i := range work {
		work[i] = newLane(t)
	}
	all := os.Getenv(allFaults) == "all"
	var cells []cell
	for _, s := range scenes(t) {
		if all || len(s.critical) > 0 {
			cells = append(cells, s.cells(t, work[0])...)
		}
	}
	if !all {
		cells = part(cells)
	}
	y := tally{ends: map[string]map[State]int{}, noticed: map[string]bool{}}
	y.run(t, work, cells)
	y.print()
	for _, f := range faults() {
		if !y.noticed[f.name] && int(y.ran.Load()) == len(cells) {
			t.Errorf("%s: not reached: no job has noticed it", f.name)
		}
	}
}

// lanes is how many cells are run at the same time: a call that hangs leaves the
// processor to others.
const lanes = 3

// By default every cell at a critical call is run, and of the others every stride-th,
// from offset on. A prime does not go in step with the faults.
const stride, offset = 127, 7

// part is what is run by default.
func part(all []cell) []cell {
	var some []cell
	for i, c := range all {
		if slices.Contains(c.scene.critical, c.call) || i%stride == offset {
			some = append(some, c)
		}
	}
	return some
}

// tally counts how cells ended.
type tally struct {
	ran, held atomic.Int64
	mu        sync.Mutex
	ends      map[string]map[State]int // by scene and fault
	lost      []string                 // the token is not finished
	// noticed are the faults that have stopped a job. Not each one does: nobody asks how
	// the end of a session went that is of no use any more.
	noticed map[string]bool
}

// run has every lane take one cell after another.
func (y *tally) run(t *testing.T, work []*lane, cells []cell) {
	todo := make(chan cell, len(cells))
	for _, c := range cells {
		todo <- c
	}
	close(todo)
	var wg sync.WaitGroup
	for _, l := range work {
		wg.Go(func() {
			for c := range todo {
				t.Run(c.name(), func(t *testing.T) {
					y.ran.Add(1)
					y.note(c, c.run(t, l))
					if !t.Failed() {
						y.held.Add(1)
					}
				})
			}
		})
	}
	wg.Wait()
}

func (y *tally) note(c cell, a *attempt) {
	y.mu.Lock()
	defer y.mu.Unlock()
	end := a.rec.State
	y.noticed[c.fault.name] = y.noticed[c.fault.name] || a.told[0] != nil
	row := fmt.Sprintf("%-28s %s", c.scene.name, c.fault.name)
	if y.ends[row] == nil {
		y.ends[row] = map[State]int{}
	}
	y.ends[row][end]++
	if end != StateFinished {
		y.lost = append(y.lost, fmt.Sprintf("%-12s %s", end, c.name()))
	}
}

// print says what became of the tokens: one that is lost without need is money.
func (y *tally) print() {
	for _, row := range slices.Sorted(maps.Keys(y.ends)) {
		fmt.Printf("%-44s", row)
		for _, end := range slices.Sorted(maps.Keys(y.ends[row])) {
			fmt.Printf(" %4d %s", y.ends[row][end], end)
		}
		fmt.Println()
	}
	slices.Sort(y.lost)
	for _, row := range y.lost {
		fmt.Println(row)
	}
	fmt.Printf("%d cells, %d held\n", y.ran.Load(), y.held.Load())
}

// tokenDir is where SoftHSM keeps the tokens of a bay, a folder for each.
func tokenDir(b pkcs11test.Bay) string { return filepath.Join(b.Dir, "tokens") }

// folders are the names of those of the tokens.
func folders(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// contents are a token's files, by their names: whatever is written to a token, be it
// only that somebody tried a wrong PIN, shows in them.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range folders(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(b)
	}
	return files
}
