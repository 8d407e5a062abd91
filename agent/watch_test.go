package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// hub is a pool whose module shows what a test has plugged in.
type hub struct {
	pkcs11.Module // only Slots is ever called
	t             *testing.T

	mu    sync.Mutex
	slots []pkcs11.Slot
	err   error
	looks []time.Time
	// during is what happens in a look, when set.
	during func()
}

func (h *hub) Acquire(context.Context) (pkcs11.Module, error) { return h, nil }
func (h *hub) Release(pkcs11.Module)                          {}

func (h *hub) Slots(ctx context.Context) ([]pkcs11.Slot, error) {
	if _, bounded := ctx.Deadline(); bounded {
		h.t.Error("a look is bounded by somebody who does not know what the module is doing")
	}
	h.mu.Lock()
	h.looks = append(h.looks, time.Now())
	during := h.during
	h.mu.Unlock()
	if during != nil {
		during()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.slots, h.err
}

// plug changes what is plugged in.
func (h *hub) plug(slots ...pkcs11.Slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slots = slots
}

// fail makes every look fail, or none.
func (h *hub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

// count is the number of looks since it was asked last.
func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.looks)
	h.looks = nil
	return n
}

// watching is an agent whose watchers and guards run, with nothing else at work.
func watching(t *testing.T, c Config) (a *Agent, stop func()) {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Runner.TokenProfile = sampleProfile
	a = New(c)
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	for _, i := range a.inventory.instances {
		loops.Go(func() { a.watch(ctx, i) })
	}
	for _, g := range a.guards {
		loops.Go(func() { a.guard(ctx, g) })
	}
	return a, func() { cancel(); loops.Wait() }
}

// TestInsertAndPullAreSeenWithinASecond plugs a token in and pulls it at moments
// that have nothing to do with the rhythm of the looks, which is the default one.
func TestInsertAndPullAreSeenWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{t: t}
		a, stop := watching(t, Config{Instances: []Instance{{Name: "m", Pool: h}}})
		defer stop()
		for n := range 20 {
			h.plug(slot("s1", "A1", 0))
			time.Sleep(time.Second)
			synctest.Wait()
			if free := a.inventory.free(); len(free) != 1 {
				t.Fatalf("round %d: a second after it was plugged in, the free tokens are %v", n, free)
			}
			h.plug()
			time.Sleep(time.Second)
			synctest.Wait()
			if free := a.inventory.free(); len(free) != 0 {
				t.Fatalf("round %d: a second after it was pulled, the free tokens are %v", n, free)
			}
			time.Sleep(37 * time.Millisecond)
		}
	})
}

// step tells the agent that a job is in a step.
func step(a *Agent, job string, serial pkcs11.TokenSerial, name provision.StepName) {
	p := provision.Progress{
		Token: provision.TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: serial}}, State: provision.StateRunning, Step: name,
	}
	p.Job.ID = job
	a.observe(p)
}

// TestTheWatcherLeavesABusyTokenAlone: while a token is initialised or makes a key,
// its instance is looked at every few seconds only, and as usual afterwards.
func TestTheWatcherLeavesABusyTokenAlone(t *testing.T) {
	for _, long := range []provision.StepName{provision.StepInitialise, provision.StepGenerateKey} {
		t.Run(string(long), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				busy, other := &hub{t: t}, &hub{t: t}
				busy.plug(slot("s1", "A1", 0), slot("s2", "A2", 0))
				a, stop := watching(t, Config{Instances: []Instance{{Name: "m", Pool: busy}, {Name: "other", Pool: other}}})
				defer stop()
				time.Sleep(10 * time.Second)
				synctest.Wait() // a look that is due at this moment is over
				busy.count()
				other.count()

				step(a, "job", "A1", long)
				time.Sleep(3 * time.Second)
				if n, m := busy.count(), other.count(); n != 0 || m < 5 {
					t.Errorf("in 3 s of a long step there were %d looks at its instance and %d at another", n, m)
				}
				step(a, "job", "A1", provision.StepSetUserPIN)
				time.Sleep(time.Second)
				if busy.count() == 0 {
					t.Error("no look in the second after the long step")
				}
			})
		})
	}
}

// TestTheWatcherDoesNotStarve: two tokens take turns in making keys for a minute. A
// third that is plugged in meanwhile is seen, by looks that take as long as the bus
// does; and a job that has ended without a further step holds up nothing.
func TestTheWatcherDoesNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{t: t, during: func() { time.Sleep(3 * time.Second) }}
		h.plug(slot("s1", "A1", 0), slot("s2", "A2", 0))
		a, stop := watching(t, Config{Instances: []Instance{{Name: "m", Pool: h}}})
		defer stop()
		first := provision.TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: "A1"}}
		second := provision.TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: "A2"}}
		a.inventory.occupy(first, "one", true)
		a.inventory.occupy(second, "two", true)
		h.count()
		for range 30 {
			step(a, "one", "A1", provision.StepGenerateKey)
			step(a, "two", "A2", provision.StepCheckKey)
			time.Sleep(time.Second)
			step(a, "two", "A2", provision.StepGenerateKey)
			step(a, "one", "A1", provision.StepCheckKey)
			time.Sleep(time.Second)
		}
		// One look takes 3 s, and at least 5 s lie between two.
		if n := h.count(); n < 6 || n > 8 {
			t.Errorf("%d looks in a minute", n)
		}
		h.plug(slot("s1", "A1", 0), slot("s2", "A2", 0), slot("s3", "A3", 0))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if free := a.inventory.free(); len(free) != 1 || free[0].Identity.Serial != "A3" {
			t.Errorf("free: %v", free)
		}
		a.inventory.vacate(first, "one", true)
		a.inventory.vacate(second, "two", true)
		h.mu.Lock()
		h.during = nil
		h.mu.Unlock()
		time.Sleep(10 * time.Second) // for the look that is under way
		h.count()
		time.Sleep(10 * time.Second)
		if n := h.count(); n < 15 {
			t.Errorf("%d looks in 10 s after the jobs", n)
		}
	})
}

// wavePool is a pool in which every process is refused, and that keeps a record.
type wavePool struct {
	name   string
	record chan string
	warmed chan struct{} // Warm returns when it is closed
}

func (p *wavePool) Acquire(context.Context) (pkcs11.Module, error) {
	p.record <- p.name + " acquire"
	return nil, errors.New("no process")
}
func (p *wavePool) Release(pkcs11.Module) {}

// warmPool is one that can start processes ahead of time.
type warmPool struct{ wavePool }

func (p *warmPool) Warm(_ context.Context, n int) error {
	p.record <- p.name + " warm " + string(rune('0'+n))
	<-p.warmed
	return errors.New("one of them could not be started")
}

// TestAWaveFindsItsProcessesWarm: jobs that begin together on one instance begin
// once it has a process for each, which nobody else waits for.
func TestAWaveFindsItsProcessesWarm(t *testing.T) {
	record := make(chan string, 10)
	many := &warmPool{wavePool{"many", record, make(chan struct{})}}
	one := &warmPool{wavePool{"one", record, nil}}
	cold := &wavePool{"cold", record, nil}
	a := New(Config{Log: slog.New(slog.DiscardHandler), Instances: []Instance{{Name: "many", Pool: many}, {Name: "one", Pool: one}, {Name: "cold", Pool: cold}}})
	var wave []*job
	for n, module := range []string{"many", "many", "many", "one", "cold", "cold"} {
		rec := &provision.Record{Token: provision.TokenRef{Module: module}}
		rec.Job.ID = module + string(rune('0'+n))
		wave = append(wave, &job{rec: rec})
	}
	a.start(t.Context(), wave)

	next := func(n int) map[string]int {
		t.Helper()
		got := map[string]int{}
		for range n {
			select {
			case what := <-record:
				got[what]++
			case <-time.After(20 * time.Second):
				t.Fatalf("only %v happened", got)
			}
		}
		return got
	}
	if got := next(4); got["many warm 3"] != 1 || got["one acquire"] != 1 || got["cold acquire"] != 2 {
		t.Errorf("while one instance warms up: %v", got)
	}
	for range 3 {
		<-a.ended // those of the other instances; nobody waited
	}
	select {
	case what := <-record:
		t.Errorf("%s before the processes are there", what)
	default:
	}
	close(many.warmed)
	if got := next(3); got["many acquire"] != 3 {
		t.Errorf("once it is warm: %v", got)
	}
	for range 3 {
		<-a.ended
	}
}
