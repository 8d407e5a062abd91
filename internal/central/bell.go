package central

import "sync"

// bell wakes those who wait for one thing, such as a unit, to have changed. Whoever
// waits takes the channel first and looks second, so that no ringing falls in between.
type bell struct {
	mu      sync.Mutex
	waiting map[string]*bellRope
}

// bellRope is shared by all who wait for one thing.
type bellRope struct {
	ch    chan struct{}
	hands int
}

func newBell() *bell { return &bell{waiting: make(map[string]*bellRope)} }

// next is closed when it is rung for the thing; done is called by whoever waits no longer.
func (b *bell) next(thing string) (rung <-chan struct{}, done func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.waiting[thing]
	if r == nil {
		r = &bellRope{ch: make(chan struct{})}
		b.waiting[thing] = r
	}
	r.hands++
	return r.ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if r.hands--; r.hands == 0 && b.waiting[thing] == r {
			delete(b.waiting, thing)
		}
	}
}

// ring wakes those who wait for the thing.
func (b *bell) ring(thing string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.waiting[thing]; r != nil {
		close(r.ch)
		delete(b.waiting, thing)
	}
}

// ringAll wakes everybody.
func (b *bell) ringAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.waiting {
		close(r.ch)
	}
	clear(b.waiting)
}
