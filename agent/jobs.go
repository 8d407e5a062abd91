package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/provision"
)

// job is an unfinished job. While it runs, its record belongs to its goroutine.
type job struct {
	rec     *provision.Record
	lease   *lease
	phase   provision.StepName
	running bool
	urgent  bool  // its order is, as far as the central server has said
	at      place // where its token was when the job began here

	// undoing says that the job was begun again since its order was cancelled.
	undoing bool

	// Of a job that is parked:
	why      *provision.StepError
	after    time.Time // not before
	version  int       // of its instance's inventory when it stopped
	failures int       // in a row, without getting past a step
}

type jobEnd struct {
	id  string
	err error
}

// maxFailures is how often a job is tried again by itself at one step.
const maxFailures = 5

// slowRetry is how often a job that waits for a person is tried again, in case
// what it waits for has happened unseen.
const slowRetry = 15 * time.Second

// quickRetries is how often a job whose token is there after all is tried again at
// once: modules and readers lose a token for a moment now and then.
const quickRetries = 3

// retries reports whether the job goes on by itself: at work, or after a passing
// failure. present says whether its token is plugged in.
func (j *job) retries(present bool) bool {
	switch {
	case j.running || j.why == nil:
		return true
	case j.why.Class == provision.ClassRetry:
		return j.failures < maxFailures
	}
	if j.why.Waiting == provision.WaitingLease {
		return !j.lease.lost() || j.rec.Facts.Bound && present && j.failures < quickRetries
	}
	present = present || j.rec.Step == provision.StepInitialise
	return j.why.Waiting == provision.WaitingToken && present && j.failures < quickRetries
}

// takeUp takes up the jobs that the journal holds unfinished. What the server said
// at the session's opening decides about leases: a unit whose key is bound is ours
// in any case; another one only if the server still lists it.
func (a *Agent) takeUp() error {
	records, err := a.Runner.Journal.Unfinished()
	if err != nil {
		return err
	}
	tokens, lots, err := a.Runner.Journal.SetAside()
	if err != nil {
		return err
	}
	for _, t := range tokens {
		a.inventory.setAside(t)
	}
	a.inventory.failedBefore(lots)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, rec := range records {
		l := newLease(a.clock, rec.Epoch, a.clock(), 0)
		listed := slices.ContainsFunc(a.pending, func(p heldLease) bool {
			return p.UnitId == rec.Job.UnitID() && int(p.Generation) == rec.Job.Generation
		})
		if !listed && !rec.Facts.Bound {
			l.end(rec.Epoch, provision.ErrLeaseLost)
		}
		j := &job{rec: rec, lease: l, phase: rec.Step, urgent: rec.Job.Urgent, at: place{rec.Token.Module, rec.Token.Identity.SlotDescription}}
		if l.lost() && rec.Waiting == provision.WaitingLease {
			j.why = &provision.StepError{Step: rec.Step, Class: provision.ClassOperator, Waiting: rec.Waiting, Hint: rec.Hint, Err: provision.ErrLeaseLost}
		}
		a.jobs[rec.Job.ID] = j
		a.inventory.occupy(rec.Token, rec.Job.ID, false)
		a.log.Info("job taken up again", "job", rec.Job.ID, "unit", rec.Job.UnitID(), "step", rec.Step, "state", rec.State)
	}
	return nil
}

func (a *Agent) jobOfUnit(unitID string) *job {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range a.jobs {
		if j.rec.Job.UnitID() == unitID {
			return j
		}
	}
	return nil
}

// takeLease lets an unfinished job go on under a lease that came in for its unit.
// A job of an older generation, or one that was stopped by the loss of its lease
// and whose token is not here, ends instead, and the unit gets another token.
func (a *Agent) takeLease(j *job, l heldLease) (bool, error) {
	a.hurries(l.UnitId, l.Urgent)
	a.mu.Lock()
	running, lost := j.running, j.lease.lost()
	a.mu.Unlock()
	sameKey := int(l.Generation) == j.rec.Job.Generation
	if running && !sameKey {
		// The job of the old generation is about to find out; the lease waits for its end.
		a.mu.Lock()
		a.pending = append(a.pending, l)
		a.mu.Unlock()
		return true, nil
	}
	if running || !lost && sameKey {
		j.lease.renewTo(l.Epoch, l.asked, l.LeaseSeconds)
		return true, nil
	}
	present, _ := a.inventory.present(j.rec.Token)
	// Under an alarm no token can be seen; the job then waits under the new lease.
	if sameKey && (present || a.inventory.alarmedAt(j.rec.Token.Module)) {
		a.mu.Lock()
		j.lease, j.why, j.failures, j.after = newLease(a.clock, l.Epoch, l.asked, l.LeaseSeconds), nil, 0, time.Time{}
		a.mu.Unlock()
		return true, nil
	}
	err := a.runner.Abandon(j.rec, "the unit was claimed again while this token was not here",
		hintMoved)
	if err != nil {
		return true, err
	}
	a.mu.Lock()
	delete(a.jobs, j.rec.Job.ID)
	a.count(j.rec)
	a.mu.Unlock()
	a.inventory.vacate(j.rec.Token, j.rec.Job.ID, true)
	return false, nil
}

// giveBack releases a unit for which there is no job; if the server cannot be
// reached the lease simply expires.
func (a *Agent) giveBack(ctx context.Context, l heldLease, reason api.ReleaseRequestReason, why error) error {
	_, err := a.Central.release(ctx, l.UnitId, l.Epoch, reason, why.Error())
	a.mu.Lock()
	a.asked = a.asked || reason == api.NoToken // no use in claiming it again
	a.mu.Unlock()
	return errors.Join(why, err)
}

// begins counts a job among those at work, before its goroutine is there.
func (a *Agent) begins(j *job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j.running, j.phase, j.undoing = true, j.rec.Step, j.lease.Cancelled()
	a.jobs[j.rec.Job.ID] = j
}

// start runs each of several jobs on its token in a goroutine of its own. Those on
// one instance wait until it has a process for each of them: a module that starts
// visits every token there is, and would wait for those that are being written.
func (a *Agent) start(ctx context.Context, wave []*job) {
	jobs := map[string]int{}
	for _, j := range wave {
		jobs[j.rec.Token.Module]++
	}
	warm := map[string]<-chan struct{}{}
	for module, n := range jobs {
		warm[module] = a.warm(ctx, module, n)
	}
	for _, j := range wave {
		ready := warm[j.rec.Token.Module]
		go func() {
			<-ready
			err := a.work(ctx, j)
			if ofToken(err) {
				a.ask(ctx, j.rec.Token.Module) // is it the token, or the station?
			}
			a.ended <- jobEnd{j.rec.Job.ID, err}
		}()
	}
}

// warm has an instance start processes for n jobs, and closes what it returns when
// they are there. Where that fails the jobs begin all the same: what is wrong is
// theirs to find out.
func (a *Agent) warm(ctx context.Context, module string, n int) <-chan struct{} {
	done := make(chan struct{})
	instance := a.inventory.instance(module)
	if instance == nil || n < 2 {
		close(done)
		return done
	}
	pool, ok := instance.Pool.(Warmer)
	if !ok {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		if err := pool.Warm(ctx, n); err != nil && ctx.Err() == nil {
			a.log.Warn("not every module process could be started ahead of its job", "module", module, "jobs", n, "error", err)
		}
	}()
	return done
}

func (a *Agent) work(ctx context.Context, j *job) error {
	instance := a.inventory.instance(j.rec.Token.Module)
	if instance == nil {
		return &provision.StepError{Step: j.rec.Step, Class: provision.ClassOperator, Waiting: provision.WaitingPerson,
			Hint: hintModule,
			Err:  fmt.Errorf("module %q is not in the configuration any more", j.rec.Token.Module)}
	}
	module, err := instance.Pool.Acquire(ctx)
	if err != nil {
		return &provision.StepError{Step: j.rec.Step, Class: provision.ClassRetry, Waiting: provision.WaitingToken,
			Hint: hintByItself, Err: err}
	}
	defer instance.Pool.Release(module)
	if j.rec.Facts.Bound && !j.rec.Facts.Withdrawn && j.lease.lost() {
		err := a.takeBack(ctx, j, module)
		if errors.Is(err, errNotTakenBack) {
			return errors.Join(err, a.runner.Abandon(j.rec, err.Error(), hintNotBack))
		}
		if err != nil {
			return err
		}
	}
	return a.runner.Run(ctx, j.rec, module, j.lease)
}

// jobEnded takes note of a job that came to an end or was parked.
func (a *Agent) jobEnded(e jobEnd) {
	a.mu.Lock()
	j := a.jobs[e.id]
	stepBefore := j.phase
	j.running = false
	rec := j.rec
	a.asked = false
	if !errors.Is(e.err, provision.ErrJournal) {
		a.unwritable = nil
	}
	if rec.State.Final() {
		delete(a.jobs, e.id)
		a.count(rec)
	}
	a.mu.Unlock()

	defer signal(a.look[rec.Token.Module])
	defer signal(a.flush)
	a.tellStopped(e.err)
	if rec.State.Final() {
		if a.inventory.breaker.ended(j.at, rec, e.err) {
			a.log.Error("alarm", "code", AlarmPlace, "module", j.at.module, "slot", j.at.slot, "reason", rec.Reason)
		}
		// Whoever lost a unit has learned nothing about the token.
		blameless := provision.OrderAtFault(e.err) || errors.Is(e.err, provision.ErrLeaseLost)
		a.inventory.vacate(rec.Token, rec.Job.ID, rec.State != provision.StateFinished && !blameless)
		written := rec.State == provision.StateFinished && rec.Facts.AsMade // its flags do not say so
		if rec.State == provision.StateQuarantined || written || rec.Facts.FactoryInVain() {
			a.inventory.setAside(rec.Token)
		}
		if errors.Is(e.err, provision.ErrFactorySOPIN) {
			a.inventory.stopLot(rec.Facts.Lot)
			a.log.Error("factory SO PIN refused: no further token of this profile is tried", "profile", rec.Facts.Lot, "token", string(rec.Token.Identity.Serial))
		}
		return
	}
	a.inventory.occupy(rec.Token, rec.Job.ID, false)
	a.parked(j, e.err, stepBefore)
}

// parked decides when a job that stopped is tried again.
func (a *Agent) parked(j *job, err error, at provision.StepName) {
	var why *provision.StepError
	if !errors.As(err, &why) {
		why = &provision.StepError{Step: at, Class: provision.ClassOperator, Waiting: provision.WaitingPerson, Err: err}
	}
	if ofToken(err) && a.parkedByAlarm(j, why) {
		return
	}
	_, version := a.inventory.present(j.rec.Token)
	if errors.Is(err, provision.ErrLeaseLost) {
		j.lease.end(j.rec.Epoch, provision.ErrLeaseLost)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if j.why == nil || j.why.Step != why.Step {
		j.failures = 0
	}
	j.why, j.version = why, version
	switch {
	case errors.Is(err, provision.ErrLeaseTooShort):
		j.after = time.Now().Add(time.Second)
		signal(a.beat)
	case why.Class == provision.ClassRetry && why.Waiting == provision.WaitingNetwork:
		// The network may be away for long; that says nothing against the job.
		j.after = time.Now().Add(a.backoff(j.failures))
		j.failures = min(j.failures+1, maxFailures-1)
	case why.Class == provision.ClassRetry:
		j.after = time.Now().Add(a.backoff(j.failures))
		j.failures++
	case j.failures < quickRetries:
		j.after = time.Now().Add(a.backoff(j.failures))
		j.failures++
	default:
		j.after = time.Now().Add(slowRetry)
	}
	a.log.Warn("job parked", "job", j.rec.Job.ID, "unit", j.rec.Job.UnitID(), "step", why.Step, "class", why.Class, "waiting", why.Waiting, "error", err)
}

// resume lets parked jobs go on whose time has come, urgent ones first.
func (a *Agent) resume(ctx context.Context) {
	a.mu.Lock()
	all := make([]*job, 0, len(a.jobs))
	for _, j := range a.jobs {
		if !j.running {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, func(x, y *job) int {
		return cmp.Or(before(x.urgent, y.urgent), x.rec.UpdatedAt.Compare(y.rec.UpdatedAt))
	})
	a.mu.Unlock()
	var wave []*job
	for _, j := range all {
		if a.due(j) {
			a.inventory.occupy(j.rec.Token, j.rec.Job.ID, true)
			a.begins(j)
			wave = append(wave, j)
		}
	}
	a.start(ctx, wave)
}

func (a *Agent) due(j *job) bool {
	if a.inventory.alarmedAt(j.rec.Token.Module) {
		return false
	}
	present, version := a.inventory.present(j.rec.Token)
	a.mu.Lock()
	defer a.mu.Unlock()
	if j.why == nil {
		return true // taken up from the journal, or under a new lease
	}
	// C_InitToken may have given the token an identity that we have not heard of.
	present = present || j.rec.Step == provision.StepInitialise
	switch {
	case j.lease.Cancelled() && !j.rec.Facts.Withdrawn:
		return !j.undoing || time.Now().After(j.after) // at once, but then in its turn
	case j.why.Waiting == provision.WaitingLease && j.rec.Facts.Bound:
		return present && time.Now().After(j.after) // the key is here: the unit is taken back
	case j.why.Waiting == provision.WaitingLease:
		return !j.lease.lost() // it has moved on to a new epoch
	case j.why.Class == provision.ClassOperator && j.why.Waiting == provision.WaitingToken:
		return present && (version != j.version || time.Now().After(j.after))
	}
	return time.Now().After(j.after)
}

// count adds a job that ended to the summary. a.mu is held.
func (a *Agent) count(rec *provision.Record) {
	switch rec.State {
	case provision.StateFinished:
		a.summary.Finished++
	case provision.StateFailed:
		a.summary.Failed++
	case provision.StateQuarantined:
		a.summary.Quarantined++
	}
}

// grace is how long the first claim waits for modules that take their time; one
// that is slower holds up nobody else.
const grace = time.Second

// mayClaim asks for work when there are free tokens.
func (a *Agent) mayClaim(ctx context.Context, loops *sync.WaitGroup) {
	if !a.inventory.settled() && time.Since(a.began) < grace {
		return // so that a claim at the start fills the bays in their order
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Paused != nil && a.Paused() {
		if a.claiming {
			a.stopClaim()
		}
		return
	}
	if a.claiming || a.fatal != nil && a.Drain || time.Now().Before(a.claimAfter) || a.session.Drain || len(a.pending) > 0 || a.Drain && (a.asked || a.unwritable != nil) {
		return
	}
	free := len(a.inventory.free())
	if free == 0 {
		return
	}
	a.claiming = true
	ctx, a.stopClaim = context.WithCancel(ctx)
	stop := a.stopClaim
	loops.Go(func() {
		defer stop()
		a.answer <- a.claim(ctx, min(free, 256))
	})
}

// claimWait is the length of a long poll for work, in seconds.
const claimWait = 20

// claim asks once; a lost answer is asked for again under the same key, so that no
// lease is left lying at the server.
func (a *Agent) claim(ctx context.Context, most int) claimAnswer {
	if err := a.Runner.Journal.Check(context.WithoutCancel(ctx)); err != nil {
		a.log.Error("no unit is claimed: the journal cannot be written", "error", err)
		a.sleep(ctx, a.backoff(3), nil)
		return claimAnswer{err: err}
	}
	wait := claimWait
	if a.Drain {
		wait = 0
	}
	key := uuid.NewString()
	for n := 0; ; n++ {
		a.mu.Lock()
		session, products := a.session.SessionId, a.Products
		a.mu.Unlock()
		asked := a.clock()
		leases, after, err := a.Central.claim(ctx, key, wait, api.ClaimRequest{SessionId: session, Max: most, Products: products})
		switch {
		case err == nil:
			answer := claimAnswer{after: after}
			for _, l := range leases {
				answer.leases = append(answer.leases, heldLease{l, asked})
			}
			return answer
		case ctx.Err() != nil:
			return claimAnswer{err: ctx.Err()}
		case isProblem(err, api.ProblemSessionUnknown):
			err = a.openSession(ctx)
			key = uuid.NewString() // what the old key got is among the session's leases
			a.forget("session", err)
		case a.Drain && (errors.Is(err, ErrForbidden) || errors.Is(err, provision.ErrRefused) || a.Central.silence() > a.Patience):
			a.fail(err)
			return claimAnswer{err: err}
		default:
			a.log.Warn("claim failed", "error", err)
		}
		a.sleep(ctx, a.backoff(n), nil)
	}
}

func (a *Agent) claimAnswered(c claimAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.claiming, a.unwritable = false, nil
	if errors.Is(c.err, provision.ErrJournal) {
		a.unwritable = c.err
	}
	if c.err != nil {
		return
	}
	a.asked, a.claimAfter = len(c.leases) == 0, time.Now().Add(c.after)
	for _, l := range c.leases {
		a.log.Info("unit claimed", "unit", l.UnitId, "generation", l.Generation, "epoch", l.Epoch, "order", l.OrderId)
		a.hold([]api.Lease{l.Lease}, l.asked)
	}
}
