package agent

import (
	"errors"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/provision"
)

// lease is this station's hold on one unit. It implements provision.Lease.
type lease struct {
	clock func() time.Duration

	mu       sync.Mutex
	epoch    int64
	deadline time.Duration // on clock
	verdict  error         // what the central server has said, for good
}

// newLease counts the lease from asked, a moment before the request for it was sent.
func newLease(clock func() time.Duration, epoch int64, asked time.Duration, seconds int) *lease {
	return &lease{clock: clock, epoch: epoch, deadline: asked + time.Duration(seconds)*time.Second}
}

// Epoch implements provision.Lease.
func (l *lease) Epoch() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// Check implements provision.Lease.
func (l *lease) Check(need time.Duration, bound bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.verdict != nil:
		return l.verdict
	case !bound && l.clock()+need >= l.deadline:
		return provision.ErrLeaseTooShort
	}
	return nil
}

// Cancelled implements provision.Lease.
func (l *lease) Cancelled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Is(l.verdict, provision.ErrCancelled)
}

// renew takes what the central server said about this epoch.
func (l *lease) renew(epoch int64, asked time.Duration, seconds int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := asked + time.Duration(seconds)*time.Second; epoch == l.epoch && d > l.deadline {
		l.deadline = d
	}
}

// end makes every later Check fail with verdict, unless the lease has moved on to another epoch.
func (l *lease) end(epoch int64, verdict error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch == l.epoch && !errors.Is(l.verdict, provision.ErrCancelled) { // which is for good
		l.verdict = verdict
	}
}

// renewTo takes a lease that came in for the same unit, under the same or a later epoch.
func (l *lease) renewTo(epoch int64, asked time.Duration, seconds int) {
	l.mu.Lock()
	if epoch > l.epoch {
		l.epoch, l.verdict = epoch, nil
	}
	l.mu.Unlock()
	l.renew(epoch, asked, seconds)
}

// left is what is left of the lease by the clock; nil when the server has ended it.
func (l *lease) left() *time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.verdict != nil {
		return nil
	}
	d := l.deadline - l.clock()
	return &d
}

// lost reports that the unit is not this station's any more.
func (l *lease) lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Is(l.verdict, provision.ErrLeaseLost)
}
