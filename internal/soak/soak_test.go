package soak

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// Variables of the environment: how many minutes, and the seed of the faults.
const (
	minutes = "SOAK_MINUTES"
	seed    = "SOAK_SEED"
)

// briefly is for a run that nobody asked to be longer. A process that starts on a busy machine may still
// be getting warm when it ends: if something rose, the run goes on for patiently in all, and is
// judged once more by all that was measured since the first third of briefly, and by the same bounds.
const (
	briefly   = 40 * time.Second
	patiently = 3 * briefly
)

// fault is trouble, and what ends it; the rest goes on by itself.
type fault struct {
	name string
	// begin does it; of the bay, if it has to do with one.
	begin func(w *world, bay int, r *rand.Rand)
	end   func(w *world, bay int)
	lasts time.Duration
}

// faults are what goes on around a station.
func faults() []fault {
	behave := func(w *world, bay int) { w.shims[bay].Rules(w.t) }
	nth := func(action string) func(*world, int, *rand.Rand) {
		return func(w *world, bay int, r *rand.Rand) {
			w.shims[bay].Rules(w.t, fmt.Sprintf("*#%d %s", 1+r.IntN(40), action))
		}
	}
	stop := func(s syscall.Signal) func(*world, int, *rand.Rand) {
		return func(w *world, _ int, _ *rand.Rand) { _ = w.server.End(s) } // killed, or a clean end
	}
	start := func(w *world, _ int) { w.startServer() }
	return []fault{
		{"the token is pulled", nth("removed"), behave, 3 * time.Second},
		{"the token is pulled after a call", nth("then-removed"), behave, 3 * time.Second},
		{"the module crashes", nth("segv"), behave, 2 * time.Second},
		{"the module hangs", nth("hang"), behave, 4 * time.Second},
		{"the device fails", nth("return 0x30"), behave, 2 * time.Second},
		{"the token is slow", func(w *world, bay int, _ *rand.Rand) { w.shims[bay].Rules(w.t, "C_GenerateKeyPair wait 1500") }, behave, 4 * time.Second},
		{"the server is restarted", stop(syscall.SIGTERM), start, time.Second},
		{"the server is killed", stop(syscall.SIGKILL), start, 2 * time.Second},
		{"the configuration is read again", func(w *world, _ int, _ *rand.Rand) { _ = w.daemon.Signal(syscall.SIGHUP) }, nil, 0},
	}
}

// TestSoak lets a station work, and fails when something grows, when too little was done, or
// when a unit was made twice.
func TestSoak(t *testing.T) {
	long, atMost := briefly, patiently
	if text := os.Getenv(minutes); text != "" {
		m, err := strconv.ParseFloat(text, 64)
		if err != nil || m <= 0 {
			t.Fatalf("%s=%s is no time", minutes, text)
		}
		long = time.Duration(m * float64(time.Minute))
		atMost = long
	}
	number := rand.Uint64N(1 << 32)
	if text := os.Getenv(seed); text != "" {
		var err error
		if number, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	say := func(format string, args ...any) { _, _ = fmt.Printf(format+"\n", args...) }
	say("seed %d, %s, %d bays", number, long, bays)
	r := rand.New(rand.NewPCG(number, 0))
	w := newWorld(t)
	w.order(r)
	w.startDaemon()
	slopes := measures()
	happened := map[string]int{}
	exchanged := w.live(t, long, atMost, r, slopes, happened)

	// What is at work comes to its end, undisturbed.
	for i := range w.shims {
		w.shims[i].Rules(t)
	}
	stationtest.Eventually(t, "the outbox to be empty", func() bool {
		return stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM report WHERE sent_at IS NULL") == 0
	})
	thin := func() int {
		return stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job WHERE state = 'finished' AND json_extract(facts, '$.Compacted')")
	}
	stationtest.Eventually(t, "all that is packed to be compacted", func() bool { return thin() == w.packedKeys() })
	if err := w.daemon.End(syscall.SIGTERM); err != nil {
		t.Errorf("the daemon did not end cleanly: %v\n%s", err, w.daemon.Tail())
	}
	for _, name := range slices.Sorted(maps.Keys(happened)) {
		say("%4d times: %s", happened[name], name)
	}
	done := w.finished()
	say("%d units finished, %d tokens exchanged", done, exchanged)
	if least := int(long.Minutes() * bays); done < least {
		t.Errorf("%d units are too little work for a verdict: at least %d are wanted", done, least)
	}
	begins := stationtest.Count(w.Journal(), "SELECT n FROM record_base")
	say("%d orders packed, %d units and %d entries compacted", len(w.packed), thin(), begins)
	if len(w.packed) == 0 || begins == 0 {
		t.Error("nothing was packed, or no entry of the record has gone")
	}
	w.check()
	for _, what := range slices.Sorted(maps.Keys(slopes)) {
		say("%s", slopes[what].line())
	}
	grow := growing(slopes)
	for _, what := range grow {
		t.Errorf("it grows: %s", what)
	}
	say("%d slopes, %d held", len(slopes), len(slopes)-len(grow))
}

// growing are those that have not held.
func growing(slopes map[string]*slope) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(slopes)), func(what string) bool { return slopes[what].held() })
}

// live goes on for a while, and for as long as atMost if something grew by then: orders come in,
// tokens are exchanged, a fault every other second or so, and everything is measured once a second.
func (w *world) live(t *testing.T, long, atMost time.Duration, r *rand.Rand, slopes map[string]*slope, happened map[string]int) (exchanged int) {
	t.Helper()
	begun := time.Now()
	all := faults()
	type ending struct {
		at   time.Time
		does func()
	}
	var ends []ending
	serverIsBack, next := begun, begun.Add(3*time.Second)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for now := begun; ; now = <-tick.C {
		if at := now.Sub(begun); at >= atMost || at >= long && len(growing(slopes)) == 0 {
			break
		} else if at >= long {
			_, _ = fmt.Printf("after %s these grew: %s; it goes on for %s in all\n", long, strings.Join(growing(slopes), ", "), atMost)
			for _, s := range slopes {
				s.warm = long / 3
			}
			long = atMost
		}
		if !w.daemon.Alive() {
			t.Fatalf("the daemon ended by itself: %v\n%s", w.daemon.Err(), w.daemon.Tail())
		}
		ends = slices.DeleteFunc(ends, func(e ending) bool {
			if now.Before(e.at) {
				return false
			}
			e.does()
			return true
		})
		exchanged += w.exchange()
		w.pack()
		if now.After(serverIsBack) {
			w.order(r)
		}
		if now.After(next) {
			f, bay := all[r.IntN(len(all))], r.IntN(bays)
			ofServer := strings.HasPrefix(f.name, "the server")
			if !ofServer || now.After(serverIsBack) {
				happened[f.name]++
				f.begin(w, bay, r)
				if f.end != nil {
					ends = append(ends, ending{now.Add(f.lasts), func() { f.end(w, bay) }})
				}
				if ofServer {
					serverIsBack = now.Add(f.lasts + 2*time.Second)
				}
			}
			next = now.Add(time.Duration(1000+r.IntN(3000)) * time.Millisecond)
		}
		w.measure(t, now.Sub(begun), slopes)
	}
	for _, e := range ends {
		e.does()
	}
	return exchanged
}
