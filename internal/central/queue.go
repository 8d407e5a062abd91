package central

import (
	"container/list"
	"slices"
	"sync"
	"time"
)

const (
	// slowPoll finds what no ringing told of, such as work whose home has died.
	slowPoll = 2 * time.Second
	// slowPollShare makes it slower where many wait, for any of them will find it.
	slowPollShare = 20 * time.Millisecond
	// maxLooks is how many waiters in a row may look in vain for one piece of work before
	// it is left to the slow poll: somebody else was faster, as a rule.
	maxLooks = 8
	// farLooks is the same for work that another server told of and has called a waiter of its
	// own for.
	farLooks = 2
)

// queue is the claims that wait for work. When there is some, one of them looks, and if it
// is not for that one the next: a thousand stations that all look at every order
// would keep the database busy with nothing else. Whoever waits enters first and looks
// second, so that no ringing falls in between.
type queue struct {
	mu      sync.Mutex
	waiting *list.List // of *waiter, longest first
	calls   int64
}

// call is one piece of work on its way from waiter to waiter.
type call struct {
	number int64
	// thing is whom it is for: a station, a product, or "" for anybody.
	thing string
	// looks is how many waiters may still look.
	looks int
}

// waiter is one claim.
type waiter struct {
	things []string
	// called has the call that it was given; it holds one at most.
	called chan call
	// heard is the newest call that it looked for.
	heard int64
	place *list.Element // nil while it is not in the queue
}

func newQueue() *queue { return &queue{waiting: list.New()} }

// The things that work can be for.
func forStation(name string) string { return "station " + name }
func forProduct(code string) string { return "product " + code }

// newWaiter is for a station that makes these products. It is not inlined: what it needs on the
// stack would be kept there while the claim waits.
//
//go:noinline
func newWaiter(station string, products []string) *waiter {
	w := &waiter{things: []string{forStation(station)}, called: make(chan call, 1)}
	for _, p := range products {
		w.things = append(w.things, forProduct(p))
	}
	return w
}

// enter puts a waiter at the end, unless it is in the queue or has been called.
func (q *queue) enter(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.place == nil && len(w.called) == 0 {
		w.place = q.waiting.PushBack(w)
	}
}

// leave takes a waiter out; a call that it has not looked for goes to the next one.
func (q *queue) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.place != nil {
		q.waiting.Remove(w.place)
		w.place = nil
	}
	select {
	case c := <-w.called:
		q.give(c)
	default:
	}
}

// pass hands a call on by a waiter that looked, while it has looks: after a find there may be
// more, for one other.
func (q *queue) pass(c call, found bool) {
	if c.looks--; found {
		c.looks = min(c.looks, 1)
	}
	if c.looks > 0 {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.give(c)
	}
}

// ring says that there is work for the thing, and whether somebody was called.
func (q *queue) ring(thing string) bool { return q.call(thing, maxLooks) }

// echo says that there is work for which another server has called somebody.
func (q *queue) echo(thing string) { q.call(thing, farLooks) }

func (q *queue) call(thing string, looks int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls++
	return q.give(call{number: q.calls, thing: thing, looks: looks})
}

// ringAll lets everybody look.
func (q *queue) ringAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range q.waiting.Len() {
		q.calls++
		q.give(call{number: q.calls, looks: 1})
	}
}

// give calls the first waiter that the call is for and that has not looked since it was made,
// if there is one.
func (q *queue) give(c call) bool {
	for e := q.waiting.Front(); e != nil; e = e.Next() {
		w := e.Value.(*waiter)
		if w.heard < c.number && (c.thing == "" || slices.Contains(w.things, c.thing)) {
			q.waiting.Remove(e)
			w.place, w.heard = nil, c.number
			w.called <- c // there is room: it was in the queue
			return true
		}
	}
	return false
}

// pause is how long a waiter waits until it looks without being called.
func (q *queue) pause() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return max(slowPoll, time.Duration(q.waiting.Len())*slowPollShare)
}
