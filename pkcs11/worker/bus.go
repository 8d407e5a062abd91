package worker

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Bus is what module processes have between them: the tokens, through one hub or one pcscd. Real
// modules touch every token in C_Initialize and when slots are listed, and wait there
// while another process has a token busy, a minute and more with an RSA key. A child
// that waits so is not hung.
type Bus struct {
	mu   sync.Mutex
	busy map[*Process]struct{} // inside a long call
	free time.Time             // when the last long call ended
}

// NewBus makes a bus for the pools of several module instances (Spec.Bus).
func NewBus() *Bus { return &Bus{busy: make(map[*Process]struct{})} }

func (b *Bus) enter(p *Process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy[p] = struct{}{}
}

// leave does nothing when the child is in no long call.
func (b *Bus) leave(p *Process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.busy[p]; ok {
		delete(b.busy, p)
		b.free = time.Now()
	}
}

// freeSince is when the last long call of another child ended, now while there is one.
func (b *Bus) freeSince(p *Process) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	for other := range b.busy {
		if other != p {
			return time.Now()
		}
	}
	return b.free
}

// keepsBus tells which calls are long: their token answers nobody else meanwhile.
func keepsBus(op operation) bool { return op == opGenerateKeyPair || op == opInit }

// waitsForBus tells which calls touch the tokens of other children in any case. Others
// do so as long as their token has no session, by which it is found without a look
// through all slots.
func waitsForBus(op operation) bool { return op == opSlots || op == opOpen || op == opInit }

// patience is how long an answer is waited for: a bound, which for what touches
// other children's tokens begins anew when the bus is free. Long calls may follow
// one another without a pause, so it begins no later than one may last.
type patience struct {
	timer *time.Timer
	bound time.Duration
	begun time.Time
	last  time.Time // the bound begins no later
	child *Process
	what  string // whose bound it is, for people
	bus   *Bus   // nil for what waits for nobody
}

// patience is for one call. A deadline of its caller's is a bound like any other.
func (p *Process) patience(ctx context.Context, bound time.Duration, waitsForBus bool) *patience {
	now := time.Now()
	what := ""
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(now.Add(bound)) {
		bound, what = deadline.Sub(now), "the caller's deadline of "
	}
	w := &patience{timer: time.NewTimer(bound), bound: bound, begun: now, last: now, child: p, what: what}
	if waitsForBus {
		w.bus = p.bus
		w.last = now.Add(max(p.limit.KeyGeneration, p.limit.Init))
	}
	return w
}

// over tells, when the timer has fired, whether the time is up. If not it is set again.
func (w *patience) over() bool {
	if w.bus == nil {
		return true
	}
	from := w.bus.freeSince(w.child)
	if from.After(w.last) {
		from = w.last
	}
	left := time.Until(from.Add(w.bound))
	if left <= 0 {
		return true
	}
	w.timer.Reset(left)
	return false
}

// String is how long was waited, for people.
func (w *patience) String() string {
	if waited := time.Since(w.begun); waited > 2*w.bound {
		return fmt.Sprintf("%s%s and %s more, in which other tokens were busy", w.what, w.bound, (waited - w.bound).Round(time.Second))
	}
	return w.what + w.bound.Round(time.Millisecond).String()
}
