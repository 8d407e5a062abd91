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
	const (
		shared  = "it needs PostgreSQL, and these servers have SQLite"
		backup  = "no setting restores a backup"
		enrols  = "TestCrashWhileEnrolling kills there"
		renews  = "no certificate is half its life old; a lost answer leaves a certificate over the same key, which stays good"
		letters = "no person prints mailers here; TestLetterKilled cuts them off"
		packs   = "another program packs here; TestCrashWhilePacking kills there"
		young   = "no journal is that old; TestCrashWhileCompacting kills there"
	)
	return map[crashpoint.Label]string{
		"hold unit *": "the development CA refuses nothing that the server lets through",
		"note that the CA has not decided about unit *": "the development CA decides at once",
		"compare *":       shared,
		"leave intents":   shared,
		"begin recovery":  backup,
		"recover unit *":  backup,
		"finish recovery": backup,
		"note that the record of station * is forked": "nobody changes a record",
		"note what blocks order *":                    "no order waits for a minute",
		"clear the personal data of order *":          "no order is that old",
		"forget old claims":                           "no claim is that old",
		"POST /v1/enrollments":                        enrols,
		"POST /v1/enrollments/*/proof":                enrols,
		"invite station *":                            enrols,
		"challenge station *":                         enrols,
		"take the proof of enrolment *":               enrols,
		"approve station *":                           enrols,
		"PostInvitation":                              enrols,
		"PostEnrollment":                              enrols,
		"PostEnrollmentProof":                         enrols,
		"ListEnrollments":                             enrols,
		"PostApproval":                                enrols,
		"POST /v1/station/renew":                      renews,
		"renew station *":                             renews,
		"PostRenewal":                                 renews,
		"confirm the mailer of unit *":                letters,
		"PutMailer":                                   letters,
		"PUT /v1/units/*/generations/*/mailer":        letters,
		"PUT /v1/units/*/shipment":                    packs,
		crashpoint.JournalCompact:                     young,
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
	m := newMatrix()
	defer m.print()
	if name := os.Getenv(crashCell); name != "" {
		one, err := parseCell(name)
		if err != nil {
			t.Fatal(err)
		}
		m.cells(t, "one cell", []cell{one})
		return
	}
	all := os.Getenv(allCrashes) == "all"
	lives := m.lives(t, all)
	if t.Failed() {
		t.FailNow() // an undisturbed life is not even well
	}
	cells := points(lives, all)
	if !all {
		cells = append(cells, chosen(t)...)
	}
	m.cells(t, "one kill", cells)
	if all {
		m.cells(t, "a label of recovery", m.recoveries(cells, lives))
		m.cells(t, "pairs", m.pairs(t, cells))
	}
	m.checkReached(t, all)
}

// chosen are cells of the fixed part that its rule does not give.
func chosen(t *testing.T) (cells []cell) {
	for _, name := range []string{
		// Half a row of certificates is removed.
		"usbkeyd/blank/after_1_token:_write_certificate/before_1_token:_destroy",
		"usbkeyd/cancelled_order/after_1_token:_destroy",
		"usbkeyd/custody_runs_out/after_1_POST_|v1|units|*|adopt",
		"usbkey-central/reissued_by_two_persons/after_1_approve_decision_*",
	} {
		c, err := parseCell(name)
		if err != nil {
			t.Fatal(err)
		}
		cells = append(cells, c)
	}
	return cells
}

// life is one that nobody disturbed, in one setting: what the program passed.
type life struct {
	cell   cell
	points []point
}

// lives lives an undisturbed life in each setting of each program, side by side. Where
// somebody decides otherwise the fixed part has one for both.
func (m *matrix) lives(t *testing.T, all bool) []life {
	var out []life
	for _, p := range []program{daemon, central} {
		for _, set := range settings(p) {
			if !all && p == daemon && set.check != nil {
				continue
			}
			out = append(out, life{cell: cell{program: p, setting: set}})
		}
	}
	t.Run("undisturbed", func(t *testing.T) {
		for i, l := range out {
			t.Run(l.cell.String(), func(t *testing.T) {
				t.Parallel()
				runs, labels := l.cell.run(t)
				m.mu.Lock()
				defer m.mu.Unlock()
				maps.Copy(m.reached, labels)
				out[i].points = runs[len(runs)-1]
			})
		}
	})
	return out
}

// points makes a cell of every point of the lives; of a setting that is not whole, only
// of those labels that no life before it had. A fixed part takes the first setting only,
// of each label the first time, and the two moments in turn.
func points(lives []life, all bool) (cells []cell) {
	seen := map[program]map[crashpoint.Label]bool{daemon: {}, central: {}}
	for _, l := range lives {
		p, set := l.cell.program, l.cell.setting
		if !all && !set.first() {
			continue
		}
		before := maps.Clone(seen[p])
		for _, k := range killable(l.points) {
			if before[k.label] && !set.whole(p) {
				continue
			}
			turn := []string{crashpoint.BeforeIt, crashpoint.AfterIt}[len(seen[p])%2]
			if !all && (seen[p][k.label] || k.n > 1 || k.moment != turn) {
				continue
			}
			cells = append(cells, cell{p, set, []point{k}})
			seen[p][k.label] = true
		}
	}
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
func (m *matrix) recoveries(cells []cell, lives []life) (out []cell) {
	normal := map[program]map[crashpoint.Label]bool{daemon: {}, central: {}}
	for _, l := range lives {
		for _, p := range l.points {
			normal[l.cell.program][p.label] = true
		}
	}
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
		if slices.ContainsFunc(c.kills, func(k point) bool { return slices.Contains(untimely(), k.label) }) {
			continue // what is left to do after it differs too
		}
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

// checkReached: each label was reached, save those that say why not; in the whole matrix
// each was killed at on both sides.
func (m *matrix) checkReached(t *testing.T, all bool) {
	t.Helper()
	for _, l := range append(crashpoint.Daemon(), crashpoint.Central()...) {
		why, excused := elsewhere()[l]
		switch {
		case excused && m.reached[l]:
			t.Errorf("label %q was reached, though %s", l, why)
		case !excused && !m.reached[l]:
			t.Errorf("label %q was never reached", l)
		case all && !excused && (m.killed[l][crashpoint.BeforeIt] == 0 || m.killed[l][crashpoint.AfterIt] == 0):
			t.Errorf("label %q was reached, and never killed at before or after", l)
		}
	}
}

func (m *matrix) print() {
	fmt.Printf("%-52s %7s %7s\n", "killed at", "before", "after")
	reached := 0
	labels := append(crashpoint.Daemon(), crashpoint.Central()...)
	for _, l := range labels {
		if m.reached[l] {
			reached++
		}
		if k := m.killed[l]; k != nil {
			fmt.Printf("%-52s %7d %7d\n", l, k[crashpoint.BeforeIt], k[crashpoint.AfterIt])
		}
		if why, excused := elsewhere()[l]; excused {
			fmt.Printf("%-52s not reached: %s\n", l, why)
		}
	}
	fmt.Printf("%d of %d labels reached\n", reached, len(labels))
	fmt.Printf("%d points, %d held\n", m.ran, m.held)
}
