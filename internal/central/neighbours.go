package central

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// relisten is the pause after the connection that hears the other servers was lost.
const relisten = time.Second

// ringer is what wakes those who wait.
type ringer interface {
	// ring says whether somebody was woken.
	ring(thing string) bool
	// echo is ring for a thing for which another server woke somebody.
	echo(thing string)
	ringAll()
}

// shared rings at every server on the store.
type shared[R ringer] struct {
	local R
	name  string
	// others is what the other servers are to be told of next.
	others *outgoing
}

func newShared[R ringer](name string, local R) *shared[R] {
	return &shared[R]{local: local, name: name, others: &outgoing{some: make(chan struct{}, 1)}}
}

// ring wakes who waits here, at once, and who waits at another server soon.
func (s *shared[R]) ring(thing string) {
	if s.local.ring(thing) {
		thing = echoed + thing
	}
	s.others.add(thing)
}

// ringAll wakes everybody here and at the other servers.
func (s *shared[R]) ringAll() {
	s.local.ringAll()
	s.others.add(everything)
}

// In a notice everything is for everybody who waits, and what begins with echoed has woken
// somebody at the server that tells of it.
const (
	everything = "*"
	echoed     = "~"
)

// maxThings is how many things one notice names before it is for everybody: PostgreSQL's
// NOTIFY takes 8000 bytes, and a thing has at most 72.
const maxThings = 100

// outgoing gathers things until they are told; without other servers nobody asks for them.
type outgoing struct {
	mu     sync.Mutex
	things []string
	some   chan struct{}
}

func (o *outgoing) add(thing string) {
	o.mu.Lock()
	if len(o.things) == maxThings {
		o.things, thing = nil, everything
	}
	o.things = append(o.things, thing)
	o.mu.Unlock()
	select {
	case o.some <- struct{}{}:
	default:
	}
}

func (o *outgoing) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	things := o.things
	o.things = nil
	return things
}

// neighbours carries the ringing of bells between the servers on one store. A
// notice that is lost costs a waiter the slow poll, nothing else.
type neighbours struct {
	store *store.Store
	self  string // this server, which has rung its own bells already
	bells []neighbourly
}

// neighbourly is a bell that other servers ring too.
type neighbourly struct {
	name   string
	local  ringer
	others *outgoing
}

func (s *shared[R]) neighbourly() neighbourly { return neighbourly{s.name, s.local, s.others} }

// tell sends notices of what was rung here, until ctx is done.
func (n *neighbours) tell(ctx context.Context, b neighbourly, failed func(error)) {
	for {
		select {
		case <-b.others.some:
			notice := strings.Join(append([]string{b.name, n.self}, b.others.take()...), "\n")
			if err := n.store.Notify(ctx, notice); err != nil && ctx.Err() == nil {
				failed(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// listen rings the bells that others ring, until ctx is done.
func (n *neighbours) listen(ctx context.Context, failed func(error)) {
	for {
		err := n.store.Listen(ctx, n.ringAll, n.heard)
		if ctx.Err() != nil {
			return
		}
		failed(err)
		select {
		case <-time.After(relisten):
		case <-ctx.Done():
			return
		}
	}
}

// ringAll is for when notices may have been missed.
func (n *neighbours) ringAll() {
	for _, b := range n.bells {
		b.local.ringAll()
	}
}

func (n *neighbours) heard(notice string) {
	lines := strings.Split(notice, "\n")
	if len(lines) < 2 || lines[1] == n.self {
		return
	}
	for _, b := range n.bells {
		if b.name != lines[0] {
			continue
		}
		for _, thing := range lines[2:] {
			if name, woken := strings.CutPrefix(thing, echoed); woken {
				b.local.echo(name)
			} else if thing == everything {
				b.local.ringAll()
			} else {
				b.local.ring(thing)
			}
		}
	}
}
