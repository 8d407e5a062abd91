package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/buildinfo"
	"github.com/usbkeyd/usbkeyd/internal/metrics"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// vitals are how the daemon is, for those who watch it: Prometheus, a health check, the
// service manager.
type vitals struct {
	*metrics.Metrics
	agent   *agent.Agent // set before anybody asks
	journal *provision.Journal
	dir     string
	// stuck is how old the agent's last turn may be, late what the central server may take
	// beside two heartbeats, often the time between two looks at what costs something: the
	// journal is written, and asked for counts.
	stuck, late, often time.Duration

	mu     sync.Mutex
	steps  map[string]step // of the jobs at work, by job id
	looked seen
	begun  time.Time // when the look that is under way began; zero for none
}

// step is when a job came to where it is.
type step struct {
	name  provision.StepName
	index int
	at    time.Time
}

// seen is what was last looked up.
type seen struct {
	unwritable            error
	reports, all, blanks  int
	journalSize, diskFree int64
}

const (
	// stuckAfter is twice what the slowest turn of the agent may take, see agent.Turned.
	stuckAfter = time.Minute
	// lateAfter is what a call to the server may take.
	lateAfter = 20 * time.Second
	// lookEvery keeps down what the tries to write the journal cost a disk.
	lookEvery = 30 * time.Second
	// lookLimit bounds the try: a disk that takes longer is none that can be worked on.
	lookLimit = 5 * time.Second
)

func newVitals(station *config.Station, journal *provision.Journal) *vitals {
	v := &vitals{journal: journal, dir: station.StateDir, stuck: stuckAfter, late: lateAfter, often: lookEvery, steps: map[string]step{}, looked: seen{diskFree: -1}}
	v.Metrics = metrics.New(buildinfo.Version(), v.snapshot)
	var names []string
	for _, m := range station.Modules {
		names = append(names, m.Name)
	}
	steps := []string{string(provision.StepWipe), string(provision.StepProveWiped)}
	for _, s := range provision.Plan(provision.Job{Kind: provision.KindInitial}) {
		steps = append(steps, string(s.Name))
	}
	v.Expect(names, []string{string(provision.StateFailed), string(provision.StateQuarantined)}, steps)
	return v
}

// observe hears of every step of every job.
func (v *vitals) observe(p provision.Progress) {
	now := time.Now()
	v.mu.Lock()
	before, known := v.steps[p.Job.ID]
	delete(v.steps, p.Job.ID)
	if p.State == provision.StateRunning {
		v.steps[p.Job.ID] = step{p.Step, p.Index, now}
	}
	v.mu.Unlock()
	if known && (p.State == provision.StateRunning && p.Index > before.index || p.State == provision.StateFinished) {
		v.Step(p.Token.Model, string(before.name), now.Sub(before.at))
	}
	if p.State.Final() {
		v.Ended(string(p.State), string(p.Step), p.State == provision.StateFinished && isLate(p.Job, now))
	}
}

func isLate(job provision.Job, now time.Time) bool {
	return !job.DueAt.IsZero() && now.After(job.DueAt)
}

// stopped hears why a job was parked or given up.
func (v *vitals) stopped(err error) {
	switch {
	case errors.Is(err, provision.ErrFactorySOPIN), errors.Is(err, provision.ErrFactoryUserPIN):
		v.PINRefused(metrics.PINFactory)
	case errors.Is(err, pkcs11.ErrPINLastTry):
		v.PINRefused(metrics.PINLastTry)
	case errors.Is(err, pkcs11.ErrPINLocked):
		v.PINRefused(metrics.PINLocked)
	case errors.Is(err, pkcs11.ErrPINIncorrect):
		v.PINRefused(metrics.PINIncorrect)
	}
}

// moduleFailed hears of a module's process that ended by itself or had to be killed.
func (v *vitals) moduleFailed(module string, err *pkcs11.Error) {
	kind := metrics.ModuleCrashed
	if errors.Is(err, pkcs11.ErrModuleHung) {
		kind = metrics.ModuleHung
	}
	v.ModuleFailed(module, kind)
}

// keepLooking looks up what costs something, until ctx ends.
func (v *vitals) keepLooking(ctx context.Context) {
	tick := time.NewTicker(v.often)
	defer tick.Stop()
	for {
		v.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (v *vitals) look(ctx context.Context) {
	v.mu.Lock()
	v.begun = time.Now()
	l := v.looked
	v.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	l.unwritable = v.journal.Writable(limited)
	if l.unwritable == nil { // else these would wait for the same lock
		reports, err := v.journal.CountPendingReports()
		all, blanks, stockErr := v.journal.CountStock()
		if l.unwritable = errors.Join(err, stockErr); l.unwritable == nil {
			l.reports, l.all, l.blanks = reports, all, blanks
		}
	}
	l.journalSize, l.diskFree = journalSize(v.dir), diskFree(v.dir)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.begun = time.Time{}
	if ctx.Err() == nil { // a try that was broken off says nothing
		v.looked = l
	}
}

// journalSize is that of the journal's files.
func journalSize(dir string) (n int64) {
	for _, end := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(journalPath(dir) + end); err == nil {
			n += info.Size()
		}
	}
	return n
}

// healthy says what is wrong with the daemon itself, so that whoever answers for it must
// look. It takes no lock that a stuck agent could hold.
func (v *vitals) healthy() (reasons []string) {
	if turned := v.agent.Turned(); !turned.IsZero() && time.Since(turned) > v.stuck {
		reasons = append(reasons, fmt.Sprintf("the loop that decides has not gone on for %s: it is stuck", time.Since(turned).Round(time.Second)))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.looked.unwritable != nil:
		reasons = append(reasons, v.looked.unwritable.Error())
	case !v.begun.IsZero() && time.Since(v.begun) > 2*lookLimit:
		reasons = append(reasons, fmt.Sprintf("%v: a try has not ended for %s", provision.ErrJournal, time.Since(v.begun).Round(time.Second)))
	}
	return reasons
}

// ready says what keeps the station from work, beside what is not healthy.
func (v *vitals) ready() []string {
	reasons := v.healthy()
	if len(reasons) > 0 {
		return reasons // the agent may not even answer
	}
	server := v.agent.View().Server
	switch {
	case server.Session == "":
		reasons = append(reasons, "there is no session with the central server yet")
	case time.Since(server.Answered) > 2*server.Heartbeat+v.late:
		reasons = append(reasons, fmt.Sprintf("the central server has not answered for %s", time.Since(server.Answered).Round(time.Second)))
	}
	for _, a := range v.agent.Alarms() {
		if a.Code != agent.AlarmPlace { // which is one place's
			reasons = append(reasons, a.Code+": "+a.Text)
		}
	}
	return reasons
}

// snapshot is what is scraped.
func (v *vitals) snapshot() metrics.Snapshot {
	healthy := len(v.healthy()) == 0
	s := metrics.Snapshot{Healthy: healthy, Jobs: map[metrics.JobKey]int{}, Modules: map[string]bool{}}
	v.mu.Lock()
	l := v.looked
	v.mu.Unlock()
	s.Reports, s.StockTokens, s.StockBlanks = l.reports, l.all, l.blanks
	s.JournalWritable, s.JournalBytes, s.DiskFree = l.unwritable == nil, l.journalSize, l.diskFree
	s.CompactedJobs, s.CompactedEntries = v.agent.Compacted()
	if turned := v.agent.Turned(); !turned.IsZero() {
		s.LoopAge = time.Since(turned)
	}
	if !healthy {
		return s // the rest is the agent's to tell, and it may not answer
	}
	s.Ready = len(v.ready()) == 0
	for _, a := range v.agent.Alarms() {
		s.Alarms = append(s.Alarms, a.Code)
	}
	view, now := v.agent.View(), time.Now()
	s.Answered = view.Server.Answered
	for _, j := range view.Jobs {
		state := provision.StateParked
		if j.Running {
			state = provision.StateRunning
		}
		s.Jobs[metrics.JobKey{State: string(state), Step: string(j.Step)}]++
		s.LeaseLeft = least(s.LeaseLeft, j.LeaseLeft)
		if !j.Job.DueAt.IsZero() {
			left := j.Job.DueAt.Sub(now)
			s.DueLeft = least(s.DueLeft, &left)
		}
		if isLate(j.Job, now) {
			s.Late++
		}
	}
	for _, m := range view.Modules {
		s.Modules[m.Name] = m.Err == nil
		for _, slot := range m.Slots {
			if slot.Present && slot.Use == agent.TokenBlank {
				s.BlankTokens++
			}
		}
	}
	return s
}

func least(a, b *time.Duration) *time.Duration {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// begin looks and serves where a port is configured, until end is called. That the port cannot
// be opened is an error; that it is lost later stops no work.
func (v *vitals) begin(ctx context.Context, port int, log *slog.Logger) (end func(), err error) {
	if port == 0 {
		return func() {}, nil
	}
	at, err := metrics.Listen(ctx, port)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // watched to the end, also while it stops
	var loops sync.WaitGroup
	loops.Go(func() { v.keepLooking(ctx) })
	loops.Go(func() {
		if err := metrics.Serve(ctx, at, v.Handler(metrics.Checks{Healthy: v.healthy, Ready: v.ready})); err != nil {
			log.Error("metrics are gone; the work goes on", "error", err)
		}
	})
	return func() {
		stop()
		loops.Wait()
	}, nil
}
