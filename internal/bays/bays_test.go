package bays

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// hub is a hub of four slots, into which a test puts tokens.
type hub map[string]bool // whether the token there is of a known model

func (h hub) seen() []Seen {
	var out []Seen
	for _, name := range []string{"a", "b", "c", "d"} {
		known, here := h[name]
		out = append(out, Seen{Slot: name, Present: here, Known: known})
	}
	return out
}

// slots are those of a map.
func slots(m Map) (out []string) {
	for _, b := range m {
		out = append(out, b.Slot)
	}
	return out
}

// TestTeaching: tokens in the order in which they come, whether they stay or move along;
// and what is wrong teaches nothing.
func TestTeaching(t *testing.T) {
	for _, row := range []struct {
		name string
		do   string // a b c d: put in; A B: taken out; x: one of another model into d; 2: a and b at once; u s g: undo, skip, again
		want string
		at   Fault
	}{
		{"they stay", "cabd", "[c a b d]", FaultNone},
		{"one is moved along", "cCaAbB", "[c a b]", FaultNone},
		{"one slot twice", "cCc", "[c]", FaultTwice},
		{"another model", "cx", "[c]", FaultModel},
		{"several at once", "c2", "[c]", FaultSeveral},
		{"a fault is over", "cxDa", "[c a]", FaultModel},
		{"undone, and put in again", "caub", "[c b]", FaultNone},
		{"undone, same token again", "cauAa", "[c a]", FaultNone},
		{"undone with nothing there", "ua", "[a]", FaultNone},
		{"left out", "csa", "[c  a]", FaultNone},
		{"left out at the end", "css", "[c]", FaultNone},
		{"from the beginning", "cagCc", "[c]", FaultNone},
		{"nothing", "", "[]", FaultNone},
	} {
		h := hub{}
		teaching := Begin(h.seen())
		for _, c := range row.do {
			switch c {
			case 'u':
				teaching.Undo()
			case 's':
				teaching.Skip()
			case 'g':
				teaching.Again()
			case 'x':
				h["d"] = false
			case '2':
				h["a"], h["b"] = true, true
			case 'A', 'B', 'C', 'D':
				delete(h, string(c+'a'-'A'))
			default:
				h[string(c)] = true
			}
			teaching.See(h.seen())
			if teaching.See(h.seen()) {
				t.Errorf("%s: something changes by itself", row.name)
			}
		}
		if got := fmt.Sprint(slots(teaching.Taught())); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
		if fault, _ := teaching.Fault(); row.at != FaultNone && row.name != "a fault is over" && fault != row.at {
			t.Errorf("%s: fault %q, want %q", row.name, fault, row.at)
		} else if row.at == FaultNone && fault != FaultNone {
			t.Errorf("%s: fault %q", row.name, fault)
		}
	}
	// What is there at the beginning teaches nothing until it is taken out.
	h := hub{"a": true}
	teaching := Begin(h.seen())
	if teaching.See(h.seen()) || teaching.Next() != 1 {
		t.Error("a token that was there")
	}
	delete(h, "a")
	teaching.See(h.seen())
	h["a"] = true
	if !teaching.See(h.seen()) || teaching.Next() != 2 {
		t.Error("put in again")
	}
}

// TestMap: what was written is read, also what was written before there were ports; anything
// else is refused.
func TestMap(t *testing.T) {
	for _, m := range []Map{{{Slot: "hub · one"}, {}, {Slot: "hub · two"}}, {{Slot: "token 0", Port: "1-2.1"}, {}, {Slot: "token 0", Port: "1-2.2"}, {Slot: "soft"}}} {
		data, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(data); err != nil || !slices.Equal(got, m) {
			t.Errorf("%q, %v", got, err)
		}
	}
	if got, err := Decode([]byte(`{"bays":["a","","b"]}`)); err != nil || !slices.Equal(got, Map{{Slot: "a"}, {}, {Slot: "b"}}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{
		"", "[]", `{"bays":["a","a"]}`, `{"bays":[],"x":1}`, `{"bays":[]} 1`, `{"bays":[1]}`,
		`{"bays":["a","b"],"ports":["1-1"]}`, `{"bays":["a","b"],"ports":["1-1","1-1"]}`, `{"bays":["a","a"],"ports":["","1-1"]}`,
	} {
		if _, err := Decode([]byte(bad)); !errors.Is(err, ErrMap) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	m := Map{{Slot: "one"}, {}, {Slot: "t0", Port: "1-1"}, {Slot: "t0", Port: "1-2"}, {Slot: "t9", Port: "1-9"}}
	for _, row := range []struct {
		slot, port string
		want       int
	}{
		{"one", "", 1}, {"", "", 0}, {"x", "", 0}, {"one", "1-7", 1}, {"t0", "1-2", 4}, {"x", "1-1", 3}, {"t9", "1-1", 3},
		{"t0", "", 0}, {"t9", "", 5}, {"t9", "1-7", 0},
	} {
		if n := m.Number(row.slot, row.port); n != row.want {
			t.Errorf("%s at %q is %d, want %d", row.slot, row.port, n, row.want)
		}
	}
	if Rank(1) >= Rank(3) || Rank(3) >= Rank(0) {
		t.Error("rank")
	}
}

// TestArrivals: which token came at which port, and what is not known.
func TestArrivals(t *testing.T) {
	start := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name string
		do   string // a b c: put in; A B: taken out; 1 2: news of port 1-1, 1-2; i: of what is in port 1-1; w: 11 s
		want string // ports of a b c
	}{
		{"one after another", "1a2b", "1-1 1-2 -"},
		{"no news", "a1", "- - -"},
		{"news, but long before", "1wa", "- - -"},
		{"another device in between", "12a", "- - -"},
		{"and then it is clear again", "12a1b", "- 1-1 -"},
		{"a token with a hub of its own", "1ia", "1-1 - -"},
		{"the same, told in another order", "i1a", "1-1 - -"},
		{"two at once", "12(ab)", "- - -"},
		{"two at once, of which one was told", "1(ab)", "- - -"},
		{"moved along", "1aA2a", "1-2 - -"},
		{"taken out, back without news", "1aAa", "- - -"},
		{"the same port again", "1aA1b", "- 1-1 -"},
	} {
		var a Arrivals
		at, h := start, hub{}
		seen := h.seen()
		a.See(seen, at)
		together := false
		for _, c := range row.do {
			switch c {
			case '1', '2':
				a.Added("1-"+string(c), at)
			case 'i':
				a.Added("1-1.1", at)
			case 'w':
				at = at.Add(11 * time.Second)
			case '(', ')':
				together = c == '('
			case 'A', 'B':
				delete(h, string(c+'a'-'A'))
			default:
				h[string(c)] = true
			}
			if seen = h.seen(); !together {
				a.See(seen, at)
			}
		}
		var got []string
		for _, s := range seen[:3] {
			got = append(got, cmp.Or(a.Port(s.Slot), "-"))
			if s.Port != a.Port(s.Slot) {
				t.Errorf("%s: %+v, and %q", row.name, s, a.Port(s.Slot))
			}
		}
		if got := strings.Join(got, " "); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	// What is there when one begins to look has come at no port.
	var a Arrivals
	a.Added("1-1", start)
	if a.See((hub{"a": true}).seen(), start) || a.Port("a") != "" {
		t.Error("a token that was there")
	}
}

// TestPorts: where slots are named by the order in which tokens came, their ports tell bays
// apart, when they are taught and afterwards.
func TestPorts(t *testing.T) {
	at := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	var a Arrivals
	look := func(h hub, ports ...string) []Seen {
		for _, p := range ports {
			a.Added(p, at)
		}
		now := h.seen()
		a.See(now, at)
		return now
	}
	teaching := Begin(look(hub{}))
	for _, port := range []string{"1-1", "1-2", "1-2"} { // one token, always the first slot
		teaching.See(look(hub{"a": true}, port))
		teaching.See(look(hub{}))
	}
	if fault, n := teaching.Fault(); fault != FaultTwice || n != 2 {
		t.Errorf("the same port twice: %q, %d", fault, n)
	}
	m := teaching.Taught()
	if !slices.Equal(m, Map{{"a", "1-1"}, {"a", "1-2"}}) {
		t.Fatalf("%q", m)
	}
	// After a restart, in another order.
	a = Arrivals{}
	look(hub{})
	look(hub{"a": true}, "1-2")
	look(hub{"a": true, "b": true}, "1-1")
	if got := []int{a.Number(m, "a"), a.Number(m, "b"), a.Number(m, "c")}; !slices.Equal(got, []int{2, 1, 0}) {
		t.Errorf("numbers %v", got)
	}
	// A slot that is known by its name gives way to the token that is in that bay.
	m = Map{{"a", "1-1"}}
	a = Arrivals{}
	look(hub{"a": true})
	if a.Number(m, "a") != 1 {
		t.Error("by its name")
	}
	look(hub{"a": true, "b": true}, "1-1")
	if a.Number(m, "a") != 0 || a.Number(m, "b") != 1 {
		t.Error("by its port")
	}
}
