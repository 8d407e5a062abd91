package central

import (
	"context"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// relisten is the pause after the connection that hears the other servers was lost.
const relisten = time.Second

// sharedBell rings at every server on the store.
type sharedBell struct {
	*bell
	name string
	// rung asks for a notice to the others; several ringings may become one.
	rung chan struct{}
}

func newSharedBell(name string) *sharedBell {
	return &sharedBell{bell: newBell(), name: name, rung: make(chan struct{}, 1)}
}

// ring wakes whoever waits here, at once, and whoever waits at another server soon.
func (b *sharedBell) ring() {
	b.bell.ring()
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

// neighbours carries the ringing of bells between the servers on one store. A
// notice that is lost costs a waiter the slow poll, nothing else.
type neighbours struct {
	store *store.Store
	self  string // this server, which has rung its own bells already
	bells []*sharedBell
}

// tell sends a notice for every ringing here, until ctx is done.
func (n *neighbours) tell(ctx context.Context, b *sharedBell, failed func(error)) {
	for {
		select {
		case <-b.rung:
			if err := n.store.Notify(ctx, b.name+" "+n.self); err != nil && ctx.Err() == nil {
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
		b.bell.ring()
	}
}

func (n *neighbours) heard(notice string) {
	name, from, _ := strings.Cut(notice, " ")
	if from == n.self {
		return
	}
	for _, b := range n.bells {
		if b.name == name {
			b.bell.ring()
		}
	}
}
