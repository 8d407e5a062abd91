package central

import "sync"

// bell wakes those who wait for one thing, such as a unit, to have changed. Whoever
// waits takes the channel first and looks second, so that no ringing falls in between.
type bell struct {
	mu      sync.Mutex
	waiting map[string]*rope
}

// rope is shared by all who wait for one thing until it is rung.
type rope struct {
	rung  chan struct{}
	hands int
}

// listener is one who waits for a thing, again and again.
type listener struct {
	bell  *bell
	thing string
	rope  *rope
}

func newBell() *bell { return &bell{waiting: make(map[string]*rope)} }

// listen begins to wait for a thing; whoever does so must leave.
func (b *bell) listen(thing string) *listener { return &listener{bell: b, thing: thing} }

// next is closed at the next ringing.
func (l *listener) next() <-chan struct{} {
	b := l.bell
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.waiting[l.thing]
	if r == nil {
		r = &rope{rung: make(chan struct{})}
		b.waiting[l.thing] = r
	}
	if r != l.rope {
		r.hands++
		l.rope = r
	}
	return r.rung
}

// leave ends the waiting.
func (l *listener) leave() {
	b := l.bell
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.rope == nil || b.waiting[l.thing] != l.rope {
		return
	}
	if l.rope.hands--; l.rope.hands == 0 {
		delete(b.waiting, l.thing)
	}
}

// ring wakes those who wait for the thing, and says whether somebody did.
func (b *bell) ring(thing string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.waiting[thing]
	if r != nil {
		close(r.rung)
		delete(b.waiting, thing)
	}
	return r != nil
}

// echo is for what another server rang.
func (b *bell) echo(thing string) { b.ring(thing) }

// ringAll wakes everybody.
func (b *bell) ringAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.waiting {
		close(r.rung)
	}
	clear(b.waiting)
}
