package central

import (
	"slices"
	"testing"
)

// Servers tell each other whether somebody looks already: if so few more do at the other
// server, and if not as many as there would have been at home.
func TestNoticesSayWhetherSomebodyLooks(t *testing.T) {
	here, there := newShared("ready", newQueue()), newQueue()
	n := &neighbours{self: "there", bells: []neighbourly{{name: "ready", local: there}}}
	tell := func() {
		for _, thing := range here.others.take() {
			n.heard("ready\nhere\n" + thing)
		}
	}
	a, b := waiting(here.local, "a", "X"), waiting(there, "b", "X", "Y")

	here.ring(forProduct("X"))
	tell()
	if at, _ := took(t, a); at != 0 {
		t.Error("nobody was called at home")
	}
	if at, c := took(t, b); at != 0 || c.looks != farLooks {
		t.Errorf("waiter %d was called with %d looks, want %d", at, c.looks, farLooks)
	}
	there.enter(b)
	here.ring(forProduct("Y")) // which nobody waits for at home
	tell()
	if at, c := took(t, b); at != 0 || c.looks != maxLooks {
		t.Errorf("waiter %d was called with %d looks, want %d", at, c.looks, maxLooks)
	}
	there.enter(b)
	here.ringAll()
	tell()
	if at, _ := took(t, b); at != 0 {
		t.Error("who waits at the other server was left out")
	}
	n.heard("ready\nthere\n" + forProduct("X"))
	if at, _ := took(t, b); at != -1 {
		t.Error("a server rang its own bell again")
	}
}

// A notice says the same of a bell, which wakes all in any case.
func TestNoticesRingBells(t *testing.T) {
	here, there := newShared("changed", newBell()), newBell()
	n := &neighbours{self: "there", bells: []neighbourly{{name: "changed", local: there}}}
	for _, waits := range []bool{false, true} {
		if waits {
			l := here.local.listen("1")
			l.next()
			defer l.leave()
		}
		far := there.listen("1")
		rung := far.next()
		here.ring("1")
		things := here.others.take()
		if want := map[bool]string{false: "1", true: echoed + "1"}[waits]; !slices.Equal(things, []string{want}) {
			t.Errorf("the notice names %q, want %q", things, want)
		}
		n.heard("changed\nhere\n" + things[0])
		select {
		case <-rung:
		default:
			t.Error("who waits at the other server was not woken")
		}
		far.leave()
	}
}
