package main

import (
	"strings"
	"testing"
)

// A server works hard after three busy looks in a row and no longer after five calm ones;
// what is shorter, such as all stations that come back at once, changes nothing.
func TestPace(t *testing.T) {
	for _, c := range []struct{ looks, hard string }{
		{"bb.bb.bb.", "........."},
		{"bbbbbb", "..hhhh"},
		{"bbb....b.....bb", "..hhhhhhhhhh..."},
		{"bbb.....bbb", "..hhhhh...h"},
	} {
		var p pace
		var got strings.Builder
		for i := range c.looks {
			before := p.hard
			if changed := p.look(c.looks[i] == 'b'); changed != (p.hard != before) {
				t.Errorf("%s, look %d: it says that the pace changed: %v, which is not so", c.looks, i, changed)
			}
			got.WriteByte(".h"[map[bool]int{true: 1}[p.hard]])
		}
		if got.String() != c.hard {
			t.Errorf("%s: works hard %s, want %s", c.looks, &got, c.hard)
		}
	}
}
