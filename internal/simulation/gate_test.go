//go:build !race

package simulation

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// verdict is what becomes of an action.
type verdict int

const (
	pass verdict = iota
	// lose makes it fail before it had an effect; loseAfter has the effect, and the
	// answer is lost.
	lose
	loseAfter
	// silence is a loss that nobody hears of.
	silence
	// twice has a message arrive twice; twiceElsewhere the second time perhaps at another
	// server.
	twice
	twiceElsewhere
	// forged has a message arrive after one like it that is not right.
	forged
	// notYet has the CA put off an answer.
	notYet
	// stray has a message take so long that its sender's lease is over.
	stray
)

func (v verdict) String() string {
	return [...]string{"", "LOST", "DONE, ANSWER LOST", "LOST IN SILENCE", "TWICE", "TWICE, PERHAPS ELSEWHERE", "AFTER A FORGED ONE", "NOT YET", "STRAYS"}[v]
}

// kind is what an action is.
type kind int

const (
	request kind = iota
	answer
	notice
	tokenCall
	caCall
)

// action is something that a part of the world is about to do to another.
type action struct {
	kind  kind
	actor string
	what  string
	// message is what a request or an answer is about.
	message *message
	seen    bool // has been given its time
	at      time.Time
	// strayed says that nothing can hold it up, or be done to it, any more.
	strayed bool
	// chance is drawn for whoever it is that goes on.
	chance int
	go_    chan verdict
}

// gate holds every action until the world lets it happen. One at a time does, while
// everybody else waits: so the seed alone decides on the order.
type gate struct {
	mu      sync.Mutex
	waiting []*action
	closed  bool
	arrived chan struct{}
}

func newGate() *gate { return &gate{arrived: make(chan struct{}, 1)} }

// enter waits for the world's verdict; false says that ctx or the world ended first.
func (g *gate) enter(ctx context.Context, a *action, dead <-chan struct{}) (verdict, bool) {
	a.go_ = make(chan verdict, 1)
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return lose, false
	}
	g.waiting = append(g.waiting, a)
	g.mu.Unlock()
	select {
	case g.arrived <- struct{}{}:
	default:
	}
	select {
	case v, ok := <-a.go_:
		return v, ok
	case <-ctx.Done():
	case <-dead:
	}
	g.mu.Lock()
	g.waiting = slices.DeleteFunc(g.waiting, func(o *action) bool { return o == a })
	g.mu.Unlock()
	return lose, false
}

// all are the waiting actions in an order that the scheduler has no say in.
func (g *gate) all() []*action {
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.SortStableFunc(g.waiting, func(x, y *action) int {
		if c := strings.Compare(x.actor, y.actor); c != 0 {
			return c
		}
		return strings.Compare(x.what, y.what)
	})
	return slices.Clone(g.waiting)
}

func (g *gate) release(a *action, v verdict) {
	g.mu.Lock()
	g.waiting = slices.DeleteFunc(g.waiting, func(o *action) bool { return o == a })
	g.mu.Unlock()
	a.go_ <- v
}

// close lets everybody go who waits.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, a := range g.waiting {
		close(a.go_)
	}
	g.waiting = nil
}
