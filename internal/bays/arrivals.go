package bays

import (
	"slices"
	"strings"
	"time"
)

// shortly is how long after its USB device a token is seen at most: a reader has to be found,
// and a module to be looked at.
const shortly = 10 * time.Second

// Arrivals pairs slots with the USB ports at which their tokens came. A token that came while
// another did, or without any news of a port, has none. The zero value knows nothing.
type Arrivals struct {
	came []arrival // since a token was last seen to come
	// here are the slots with a token, and its port.
	here map[string]string
}

type arrival struct {
	port string
	at   time.Time
}

// Added notes that a USB device has come.
func (a *Arrivals) Added(port string, at time.Time) { a.came = append(a.came, arrival{port, at}) }

// See looks at the slots, fills in the ports of their tokens, and reports whether one was told
// apart just now.
func (a *Arrivals) See(now []Seen, at time.Time) bool {
	first := a.here == nil // what was there before anybody looked has not come
	before := a.here
	a.here = map[string]string{}
	var came []int
	for i, s := range now {
		port, was := before[s.Slot]
		if !s.Present {
			continue
		}
		if now[i].Port = port; !was && !first {
			came = append(came, i)
		}
		a.here[s.Slot] = port
	}
	a.came = slices.DeleteFunc(a.came, func(e arrival) bool { return at.Sub(e.at) > shortly })
	if len(came) == 0 {
		return false
	}
	port := onePort(a.came)
	if a.came = nil; len(came) > 1 || port == "" {
		return false
	}
	now[came[0]].Port = port
	a.here[now[came[0]].Slot] = port
	return true
}

// onePort is the port of all of these, "" for none. What a token brings along behind it, such as
// a reader in a hub of its own, is plugged in where that hub is.
func onePort(all []arrival) string {
	out := ""
	for _, e := range all {
		switch {
		case out == "" || strings.HasPrefix(out, e.port+"."):
			out = e.port
		case e.port != out && !strings.HasPrefix(e.port, out+"."):
			return ""
		}
	}
	return out
}

// Port is where the token in a slot came, "" for not known.
func (a *Arrivals) Port(slot string) string { return a.here[slot] }

// Number is that of a slot's bay on a map, 0 for none: by its port, else by its slot, unless the
// token of that bay is known to be elsewhere.
func (a *Arrivals) Number(m Map, slot string) int {
	n := m.Number(slot, a.here[slot])
	if n == 0 || a.here[slot] != "" || m[n-1].Port == "" {
		return n
	}
	for _, port := range a.here {
		if port == m[n-1].Port {
			return 0
		}
	}
	return n
}
