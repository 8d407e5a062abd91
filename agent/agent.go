package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Config is what the daemon is made of.
type Config struct {
	Central   *Central
	Instances []Instance
	// Renewal renews the station's certificate; nil leaves it as it is.
	Renewal *Renewal
	// Runner runs the jobs; its Central, Recipients and Observe are set here.
	Runner provision.Runner
	// Label returns the token label template of a product.
	Label func(productCode string) (*csr.Text, error)
	// Products are the product codes that this station makes.
	Products []string
	// Capabilities are told to the central server.
	Capabilities []Capability
	// UserPINRecipients and SOPINRecipients are the SHA-256 (hexadecimal) of the
	// certificates to which this station seals; the server may only choose among them.
	UserPINRecipients []string
	SOPINRecipients   []string
	// InstanceID is this installation's UUID, kept in its state folder.
	InstanceID string
	// BootID changes with every start of the machine.
	BootID  string
	Version string
	// Drain makes Run return once no work is left.
	Drain bool
	// ConnectWithin bounds the first connection when draining.
	ConnectWithin time.Duration
	// Patience is how long a drain goes on without an answer of the central server.
	Patience time.Duration
	// AlarmPatience is how long a drain goes on under an alarm, in case a pcscd is
	// being restarted.
	AlarmPatience time.Duration
	// WatchInterval is the time between two looks at a module's slots.
	WatchInterval time.Duration
	// DepartureInterval is the time between two questions about finished tokens that may
	// have left; 10 min when 0.
	DepartureInterval time.Duration
	Log               *slog.Logger
	// Probe asks the pcscd at a socket whether it works. It returns nil when it does,
	// else what is wrong and what to do (Since is filled in here), and soon after ctx
	// ends in any case. It may be nil: then nobody asks.
	Probe func(ctx context.Context, socket string) *Alarm
	// Clock runs on through suspend; leases go by it. Nil means the system's.
	Clock func() time.Duration
	// Jitter draws from 0 up to d, so that stations do not act together; nil means by chance.
	Jitter func(d time.Duration) time.Duration
	// Observe hears of every step of every job; it may be nil and must not block.
	Observe func(provision.Progress)
	// Stopped hears why a job was parked or given up; it may be nil and must not block.
	Stopped func(error)
	// Changed is told that tokens, alarms or jobs may look otherwise than before; it may be
	// nil and must not block.
	Changed func()
	// Order says where a slot comes among those that are filled, smaller first; nil, and equal
	// ones, leave it as configured.
	Order func(module, slot string) int
	// Paused says that no new work is wanted just now, such as while bays are taught; it may be nil.
	Paused func() bool
	// PrintLabel prints the label of a finished key, whose token was just pulled, and says what
	// is known of it; nil where labels do not come one at a time.
	PrintLabel func(ctx context.Context, rec *provision.Record) (says string, err error)
	// Record are the keys with which the record goes to the central server; nil where it
	// stays here.
	Record *RecordKeys
	// RecordInterval is the time between two looks for what is new in it.
	RecordInterval time.Duration
	// Keep is how long the journal keeps all of a job that is done with, and the record's
	// lines; 0 for ever.
	Keep time.Duration
}

// Capability is what the station can do with a token model.
type Capability struct {
	TokenModel         string
	Algorithms         []string
	WorstKeyGeneration time.Duration
}

// Summary counts how the jobs of one Run ended.
type Summary struct {
	Finished    int
	Failed      int
	Quarantined int
	// Waiting are the jobs that wait for a person, a token or a lease.
	Waiting []*provision.Record
	// FreeTokens is how many blank tokens were left.
	FreeTokens int
	// Unlisted are blank tokens that were not on the list of delivered ones.
	Unlisted []Unlisted
	// Refused counts reports that the central server refused for good, and those of tokens
	// whose order was cancelled meanwhile.
	Refused int
	// Alarms are those that stood at the end.
	Alarms []Alarm
}

// Agent is the daemon. Make one with New and call Run once.
type Agent struct {
	Config
	log       *slog.Logger
	clock     func() time.Duration
	inventory *inventory
	runner    *provision.Runner
	guards    []*guard

	wake   chan struct{}            // something changed: look at everything again
	beat   chan struct{}            // a heartbeat is wanted now
	flush  chan struct{}            // a report is in the outbox
	left   chan struct{}            // a parcel or a letter was told of: PINs may go
	look   map[string]chan struct{} // an instance is to be looked at now
	label  chan struct{}            // labels are another way
	ended  chan jobEnd
	answer chan claimAnswer

	renewing   sync.Mutex
	turned     atomic.Pointer[time.Time] // see Turned
	mu         sync.Mutex
	session    api.Session
	recipients provision.Recipients
	jobs       map[string]*job // by job id: all that are unfinished
	pending    []heldLease
	summary    Summary
	heldBack   int64 // the outbox's alone: behind which report its next round begins
	asked      bool  // the server has said that there is nothing to do, and nothing has happened since
	claiming   bool
	stopClaim  context.CancelFunc // ends the claim that is under way
	claimAfter time.Time          // not before
	fatal      error              // why a drain cannot go on
	began      time.Time
	unwritable error  // why the journal could not be written when a unit was to be claimed
	broken     *Alarm // the record is not what it was
	labels     labels

	serving atomic.Bool // a key is being read for the packing table

	// sent is how many entries of the record the server has. It belongs to whoever sends:
	// first Run, then the loop of records, then Run again.
	sent int64
	// compactAfter is when the journal is looked at again for what can go; likewise.
	compactAfter                    time.Time
	compactedJobs, compactedEntries atomic.Int64
}

// heldLease is a lease together with the moment before it was asked for.
type heldLease struct {
	api.Lease
	asked time.Duration
}

type claimAnswer struct {
	leases []heldLease
	after  time.Duration // how long the server wants to be left alone
	err    error
}

// New makes an agent.
func New(c Config) *Agent {
	if c.WatchInterval == 0 {
		c.WatchInterval = 500 * time.Millisecond
	}
	if c.DepartureInterval == 0 {
		c.DepartureInterval = 10 * time.Minute
	}
	if c.Patience == 0 {
		c.Patience = 2 * time.Minute
	}
	if c.AlarmPatience == 0 {
		c.AlarmPatience = 20 * time.Second
	}
	if c.ConnectWithin == 0 {
		c.ConnectWithin = 20 * time.Second
	}
	if c.RecordInterval == 0 {
		c.RecordInterval = 5 * time.Second
	}
	if c.Clock == nil {
		c.Clock = SinceBoot
	}
	if c.Jitter == nil {
		c.Jitter = rand.N[time.Duration]
	}
	a := &Agent{
		Config: c, log: c.Log, clock: c.Clock,
		wake: make(chan struct{}, 1), beat: make(chan struct{}, 1), flush: make(chan struct{}, 1), left: make(chan struct{}, 1), label: make(chan struct{}, 1),
		look: map[string]chan struct{}{}, ended: make(chan jobEnd), answer: make(chan claimAnswer),
		jobs: map[string]*job{},
	}
	for _, i := range c.Instances {
		a.look[i.Name] = make(chan struct{}, 1)
	}
	runner := c.Runner
	runner.Central, runner.Recipients, runner.Observe = c.Central, a.sealTo, a.observe
	a.runner = &runner
	a.inventory = newInventory(c.Instances, runner.TokenProfile)
	a.inventory.delivered = deliveredOnly(&runner)
	a.guards = newGuards(c)
	return a
}

// Run works until ctx ends, or with Drain until no work is left that can be done.
// When ctx ends, every job comes to the end of its step and is parked, nothing is
// abandoned. The error says why it could not work, or not go on: ErrForbidden,
// provision.ErrJournal, audit.ErrBroken, or that the central server cannot be reached.
func (a *Agent) Run(ctx context.Context) (Summary, error) {
	a.inventory.order = a.Order
	defer a.Central.Close()
	defer a.renewInBackground(ctx)()
	if err := a.connect(ctx); err != nil {
		a.summary.Alarms = a.Alarms()
		return a.summary, err
	}
	if err := a.takeUp(); err != nil {
		return a.summary, err
	}
	a.began = time.Now()
	background, stop := context.WithCancel(ctx)
	var loops sync.WaitGroup
	for _, i := range a.inventory.instances {
		loops.Go(func() { a.watch(background, i) })
	}
	for _, g := range a.guards {
		loops.Go(func() { a.guard(background, g) })
	}
	loops.Go(func() { a.heartbeats(background) })
	loops.Go(func() { a.outbox(background) })
	loops.Go(func() { a.departures(background) })
	loops.Go(func() { a.records(background) })
	loops.Go(func() { a.labelling(background) })

	err := a.schedule(ctx, background, &loops)
	stop()
	loops.Wait()
	a.lastReports()
	if broken := a.lastRecord(); broken != nil && !a.recordStops() {
		a.recordBroken(broken)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range a.jobs {
		a.summary.Waiting = append(a.summary.Waiting, j.rec)
	}
	a.summary.FreeTokens, a.summary.Unlisted = len(a.inventory.free()), a.inventory.unlisted()
	a.summary.Alarms = a.alarms()
	if a.Drain && err == nil {
		err = errors.Join(a.fatal, a.unwritable)
	}
	return a.summary, err
}

// poke asks the scheduler to look at everything again.
func (a *Agent) poke() {
	signal(a.wake)
	if a.Changed != nil {
		a.Changed()
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// schedule is the one goroutine that decides: which lease gets which token, which
// parked job goes on, when to claim, when all is done. What it starts in the background ends
// with background.
func (a *Agent) schedule(ctx, background context.Context, loops *sync.WaitGroup) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		a.turn()
		if ctx.Err() == nil && !a.recordStops() {
			a.assign(ctx)
			a.resume(ctx)
			a.mayClaim(ctx, loops)
		}
		if a.done(ctx) {
			return nil
		}
		select {
		case e := <-a.ended:
			a.jobEnded(e)
		case c := <-a.answer:
			a.claimAnswered(c)
		case <-a.wake:
		case <-tick.C:
			a.insertions(background, loops)
		case <-stopped(ctx, a.atWork()):
		}
	}
}

// stopped is ctx's end, but only while nothing is at work any more whose end must be heard.
func stopped(ctx context.Context, atWork bool) <-chan struct{} {
	if atWork {
		return nil
	}
	return ctx.Done()
}

func (a *Agent) atWork() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.claiming || a.running() > 0
}

func (a *Agent) running() int {
	n := 0
	for _, j := range a.jobs {
		if j.running {
			n++
		}
	}
	return n
}

// done reports whether Run should end.
func (a *Agent) done(ctx context.Context) bool {
	if a.atWork() {
		return false
	}
	if ctx.Err() != nil {
		return true
	}
	if !a.Drain || !a.inventory.settled() && a.fatal == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fatal == nil && a.Central.silence() > a.Patience {
		a.fatal = fmt.Errorf("the central server has not answered for %s; what is not finished goes on at the next start", a.Patience)
	}
	if a.fatal != nil {
		return true
	}
	if a.mayRecover() {
		return false
	}
	for _, j := range a.jobs {
		if a.inventory.alarmedAt(j.rec.Token.Module) {
			continue // it does not go on before a person has done something
		}
		if present, _ := a.inventory.present(j.rec.Token); j.retries(present) {
			return false
		}
	}
	mayClaim := !a.asked && a.unwritable == nil && !a.session.Drain
	if len(a.pending) > 0 || mayClaim && len(a.inventory.free()) > 0 {
		return false
	}
	n, err := a.Runner.Journal.CountPendingReports()
	return err == nil && n == 0
}

// fail ends a drain.
func (a *Agent) fail(err error) {
	a.mu.Lock()
	a.fatal = err
	a.mu.Unlock()
	a.poke()
}

// backoff returns the n-th wait (from 0) of a series, with jitter so that stations
// that lost the same server do not come back together.
func (a *Agent) backoff(n int) time.Duration {
	const first, most = 500 * time.Millisecond, 30 * time.Second
	d := most
	if n < 6 {
		d = min(most, first<<n)
	}
	return d/2 + a.Jitter(d/2)
}

// forget is for errors that only a log line can tell.
func (a *Agent) forget(what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		a.log.Error(what, "error", err)
	}
}

// observe keeps each job's phase for the heartbeat and passes progress on.
func (a *Agent) observe(p provision.Progress) {
	lot := ""
	a.mu.Lock()
	if j := a.jobs[p.Job.ID]; j != nil {
		j.phase = p.Step
		lot = j.rec.Facts.Lot
	}
	a.mu.Unlock()
	if p.State == provision.StateRunning {
		a.inventory.moved(p.Token, p.Job.ID)
		a.inventory.entered(p.Token, p.Job.ID, p.Step)
		if p.Step == provision.StepSetSOPIN { // the factory's has opened the token
			a.inventory.prove(lot)
		}
	}
	level := slog.LevelDebug
	if p.State != provision.StateRunning {
		level = slog.LevelInfo
	}
	a.log.Log(context.Background(), level, "job", "job", p.Job.ID, "unit", p.Job.UnitID(), "module", p.Token.Module,
		"token", string(p.Token.Identity.Serial), "state", p.State, "step", p.Step, "reason", p.Reason)
	if a.Observe != nil {
		a.Observe(p)
	}
}

// sealTo returns the recipients of PINs as the session found them.
func (a *Agent) sealTo() (provision.Recipients, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.recipients.UserPIN) < min(1, len(a.UserPINRecipients)) || len(a.recipients.SOPIN) == 0 {
		return provision.Recipients{}, fmt.Errorf("no recipients of PINs are known yet")
	}
	return a.recipients, nil
}
