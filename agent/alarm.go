package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Alarm is trouble of the station itself, which no token is at fault for: one, no
// matter how many modules and tokens are behind it.
type Alarm struct {
	// Code is for programs and never changes its meaning.
	Code  string    `json:"code"`
	Since time.Time `json:"since"`
	// Text says what is wrong, Hint what to do about it.
	Text string `json:"text"`
	Hint string `json:"hint"`
}

// waitingAlarm is what a job waits for that stopped under an alarm.
const waitingAlarm provision.Waiting = "station"

// How often pcscd is asked, and how long an answer may take.
const (
	askCalm   = 30 * time.Second // when there is no other reason
	askUneasy = 2 * time.Second  // under an alarm, to see its end
	askLimit  = 2 * time.Second
)

// settling is how long jobs wait after an alarm has ended: a pcscd that was started
// a moment ago still looks for its readers.
const settling = 2 * time.Second

// guard watches one pcscd for all instances behind it. What is not its own
// goroutine's is guarded by Agent.mu.
type guard struct {
	socket string
	turn   chan struct{} // holds a value while somebody asks
	begun  time.Time     // when the last question was asked; whoever has the turn may use it
	wake   chan struct{} // an alarm has been raised: ask again soon

	asked bool      // at least once
	alarm *Alarm    // nil when pcscd works
	ended time.Time // when the last question ended
}

// newGuards makes one for each socket.
func newGuards(c Config) []*guard {
	var out []*guard
	for _, i := range c.Instances {
		known := slices.ContainsFunc(out, func(g *guard) bool { return g.socket == i.PCSC })
		if c.Probe != nil && i.PCSC != "" && !known {
			out = append(out, &guard{socket: i.PCSC, turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)})
		}
	}
	return out
}

// guard asks again and again until ctx ends, in a goroutine of its own.
func (a *Agent) guard(ctx context.Context, g *guard) {
	for ctx.Err() == nil {
		a.check(ctx, g)
		wait := askCalm
		a.mu.Lock()
		if g.alarm != nil {
			wait = askUneasy
		}
		a.mu.Unlock()
		a.sleep(ctx, wait, g.wake)
	}
}

// ask finds out whether an instance's pcscd works, for somebody to whom the instance
// has just failed, so that no token is blamed for the station. It returns when the
// answer is known, a few seconds later at most; only its caller waits.
func (a *Agent) ask(ctx context.Context, module string) {
	i := a.inventory.instance(module)
	if i == nil {
		return
	}
	for _, g := range a.guards {
		if g.socket == i.PCSC {
			a.check(ctx, g)
		}
	}
}

// check asks pcscd now, or waits for the answer to a question that somebody else
// has asked since: when pcscd dies, all its tokens' jobs fail at once.
func (a *Agent) check(ctx context.Context, g *guard) {
	came := time.Now()
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-g.turn }()
	if g.begun.After(came) {
		return
	}
	g.begun = time.Now()
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	fault := a.Probe(limited, g.socket)
	if ctx.Err() == nil { // else the question was broken off and says nothing
		a.judge(g, fault)
	}
}

// judge raises or ends the alarm.
func (a *Agent) judge(g *guard, fault *Alarm) {
	a.mu.Lock()
	before, lastEnded := g.alarm, g.ended
	a.mu.Unlock()
	if fault == nil {
		a.inventory.rejoin(g.socket)
	} else if before != nil {
		a.inventory.part(g.socket, lastEnded, g.begun)
	}
	if fault != nil && !a.inventory.needed(g.socket) {
		fault = nil
	}
	if fault != nil {
		raised := *fault
		raised.Since = time.Now()
		if before != nil {
			raised.Since = before.Since
		}
		fault = &raised
	}
	a.mu.Lock()
	g.asked, g.alarm, g.ended = true, fault, time.Now()
	a.mu.Unlock()
	a.inventory.alarm(g.socket, fault != nil)
	a.tellAlarm(g, before, fault)
	a.poke()
}

// tellAlarm logs what has changed; an alarm that stands is not told again.
func (a *Agent) tellAlarm(g *guard, before, now *Alarm) {
	switch {
	case now != nil && (before == nil || before.Code != now.Code):
		a.log.Error("alarm", "code", now.Code, "text", now.Text, "todo", now.Hint)
		signal(g.wake)
	case now == nil && before != nil:
		a.log.Info("alarm ended", "code", before.Code, "after", time.Since(before.Since).Round(time.Second).String())
		a.settle(g)
	}
}

// settle lets what waited for the end of an alarm go on.
func (a *Agent) settle(g *guard) {
	a.mu.Lock()
	for _, j := range a.jobs {
		i := a.inventory.instance(j.rec.Token.Module)
		if !j.running && i != nil && i.PCSC == g.socket && j.why != nil && j.why.Waiting == waitingAlarm {
			j.after = time.Now().Add(settling)
		}
	}
	a.mu.Unlock()
	for _, i := range a.Instances {
		if i.PCSC == g.socket {
			signal(a.look[i.Name])
		}
	}
}

// parkedByAlarm parks a job that an alarm has stopped, and reports whether one has.
// The failure is the station's: it does not count, and what the token's error would
// have a person do is left out.
func (a *Agent) parkedByAlarm(j *job, why *provision.StepError) bool {
	alarm := a.alarmAt(j.rec.Token.Module)
	if alarm == nil {
		return false
	}
	a.mu.Lock()
	j.why = &provision.StepError{
		Step: why.Step, Class: provision.ClassRetry, Waiting: waitingAlarm, Hint: alarm.Hint,
		Err: fmt.Errorf("%s: %w", alarm.Text, why.Err),
	}
	j.after = time.Time{}
	a.mu.Unlock()
	j.rec.Reason, j.rec.Hint, j.rec.Waiting = j.why.Error(), j.why.Hint, waitingAlarm
	if j.rec.State == provision.StateParked {
		// The journal has the token's own error; whoever reads it would look in the wrong place.
		a.forget("journal", a.Runner.Journal.Save(j.rec, "alarm "+alarm.Code, ""))
	}
	a.log.Warn("job parked under an alarm", "job", j.rec.Job.ID, "unit", j.rec.Job.UnitID(), "step", why.Step, "code", alarm.Code, "error", why.Err)
	return true
}

// alarmAt is the alarm that an instance is under, or nil.
func (a *Agent) alarmAt(module string) *Alarm {
	if !a.inventory.alarmedAt(module) {
		return nil
	}
	socket := a.inventory.instance(module).PCSC
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.guards {
		if g.socket == socket {
			return g.alarm
		}
	}
	return nil
}

// mayRecover reports whether a drain goes on because of an alarm: it may end soon,
// and there may be something to do then. a.mu is held.
func (a *Agent) mayRecover() bool {
	return slices.ContainsFunc(a.guards, func(g *guard) bool {
		standing := g.alarm != nil && time.Since(g.alarm.Since) < a.AlarmPatience && (len(a.jobs) > 0 || !a.asked)
		return standing || !g.asked
	})
}

// Alarms are those that stand now, the oldest first.
func (a *Agent) Alarms() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.alarms()
}

// alarms is Alarms for those who hold a.mu.
func (a *Agent) alarms() []Alarm {
	out := a.inventory.breaker.alarms()
	for _, g := range a.guards {
		if g.alarm != nil {
			out = append(out, *g.alarm)
		}
	}
	if a.broken != nil {
		out = append(out, *a.broken)
	}
	out = append(out, a.labels.alarms()...)
	slices.SortStableFunc(out, func(x, y Alarm) int { return x.Since.Compare(y.Since) })
	return out
}

// ofToken reports that an error came from a module or a token.
func ofToken(err error) bool {
	var failed *pkcs11.Error
	var kind pkcs11.Sentinel
	return errors.As(err, &failed) || errors.As(err, &kind)
}

// alarm marks the instances behind a socket. Those whose alarm has ended are looked
// at again before anything is believed of them.
func (inv *inventory) alarm(socket string, on bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, i := range inv.instances {
		if i.PCSC != socket {
			continue
		}
		now := on && !i.apart
		i.stale = i.stale || i.alarmed && !now
		i.alarmed = now
	}
}

// alarmedAt reports whether an instance is under an alarm.
func (inv *inventory) alarmedAt(module string) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(module)
	return i != nil && i.alarmed
}

// needed reports whether any instance needs the pcscd at a socket.
func (inv *inventory) needed(socket string) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return slices.ContainsFunc(inv.instances, func(i *instanceState) bool { return i.PCSC == socket && !i.apart })
}

// part sets apart the instances that have shown a token by a look between two
// questions that pcscd did not answer. A maker's library may name pcscd's and yet
// reach its own tokens by itself; it is not to be held up by a pcscd that nobody uses.
func (inv *inventory) part(socket string, after, before time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, i := range inv.instances {
		if i.PCSC == socket && i.shown.After(after) && !i.looked.After(before) && i.err == nil {
			i.apart = true
		}
	}
}

// rejoin takes that back once pcscd works: the module may use it from now on.
func (inv *inventory) rejoin(socket string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, i := range inv.instances {
		if i.PCSC == socket {
			i.apart = false
		}
	}
}
