package central

import "testing"

func waiting(q *queue, station string, products ...string) *waiter {
	w := newWaiter(station, products)
	q.enter(w)
	return w
}

// took says which of the waiters was called; exactly one must have been, or none.
func took(t *testing.T, waiters ...*waiter) (int, call) {
	t.Helper()
	at, got := -1, call{}
	for i, w := range waiters {
		select {
		case c := <-w.called:
			if at >= 0 {
				t.Fatalf("waiters %d and %d were called for one piece of work", at, i)
			}
			at, got = i, c
		default:
		}
	}
	return at, got
}

// One piece of work calls one waiter, the longest one that it is for.
func TestOneIsCalled(t *testing.T) {
	q := newQueue()
	a, b, c := waiting(q, "a", "X"), waiting(q, "b", "Y"), waiting(q, "c", "Y")
	q.ring(forProduct("Y"))
	if at, _ := took(t, a, b, c); at != 1 {
		t.Errorf("waiter %d was called, want 1", at)
	}
	q.ring(forStation("c"))
	if at, _ := took(t, a, b, c); at != 2 {
		t.Errorf("waiter %d was called, want 2", at)
	}
	q.ring(forProduct("Z"))
	if at, _ := took(t, a, b, c); at != -1 {
		t.Errorf("waiter %d was called for what nobody makes", at)
	}
}

// What is not for the one that looked goes to the next, and to nobody twice.
func TestInVainGoesOn(t *testing.T) {
	q := newQueue()
	a, b := waiting(q, "a"), waiting(q, "b")
	q.ring("")
	_, c := took(t, a, b)
	q.enter(a)
	q.pass(c, false)
	at, c := took(t, a, b)
	if at != 1 {
		t.Fatalf("waiter %d was called, want 1", at)
	}
	q.enter(b)
	q.pass(c, false)
	if at, _ := took(t, a, b); at != -1 {
		t.Errorf("waiter %d was called again", at)
	}
}

func TestLooksAreBounded(t *testing.T) {
	for _, c := range []struct {
		ring func(*queue)
		want int
	}{{func(q *queue) { q.ring("") }, maxLooks}, {func(q *queue) { q.echo("") }, farLooks}} {
		q := newQueue()
		var all []*waiter
		for range 2 * maxLooks {
			all = append(all, waiting(q, "a"))
		}
		c.ring(q)
		looks := 0
		for at, c := took(t, all...); at >= 0; at, c = took(t, all...) {
			looks++
			q.pass(c, false)
		}
		if looks != c.want {
			t.Errorf("%d looked, want %d", looks, c.want)
		}
	}
}

// After a find one more may look, not a whole row.
func TestFindGoesOnOnce(t *testing.T) {
	q := newQueue()
	a, b, c := waiting(q, "a"), waiting(q, "b"), waiting(q, "c")
	q.ring("")
	_, got := took(t, a, b, c)
	q.pass(got, true)
	at, got := took(t, a, b, c)
	if at != 1 {
		t.Fatalf("waiter %d was called, want 1", at)
	}
	q.pass(got, false)
	if at, _ := took(t, a, b, c); at != -1 {
		t.Errorf("waiter %d was called as well", at)
	}
}

// A waiter that goes away with a call that it has not looked for leaves it to the next.
func TestLeavingHandsOn(t *testing.T) {
	q := newQueue()
	a, b := waiting(q, "a"), waiting(q, "b")
	q.ring("")
	q.leave(a)
	if at, _ := took(t, a, b); at != 1 {
		t.Errorf("waiter %d was called, want 1", at)
	}
	q.leave(b)
	if q.waiting.Len() != 0 {
		t.Error("somebody still waits")
	}
}

func TestBellWakesThoseOfOneThing(t *testing.T) {
	b := newBell()
	one, other, another := b.listen("1"), b.listen("2"), b.listen("2")
	woken := func(l *listener) bool {
		rung := l.rope.rung
		select {
		case <-rung:
			return true
		default:
			return false
		}
	}
	for _, l := range []*listener{one, other, another} {
		l.next()
	}
	b.ring("1")
	if !woken(one) || woken(other) {
		t.Errorf("woken: 1 %v, 2 %v; want 1 alone", woken(one), woken(other))
	}
	one.next()
	if woken(one) {
		t.Error("1 was woken twice by one ringing")
	}
	other.leave()
	b.ringAll()
	if !woken(one) || !woken(another) {
		t.Errorf("woken: 1 %v, 2 %v; want both", woken(one), woken(another))
	}
	one.next()
	for _, l := range []*listener{one, another} {
		l.leave()
	}
	if len(b.waiting) != 0 {
		t.Errorf("%d things are still waited for", len(b.waiting))
	}
}
