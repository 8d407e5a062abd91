package main

import "testing"

// A server works hard from the third busy look in a row on, and rests from the fifth calm one on;
// what is shorter, such as all stations that come back at once, does not make it work hard.
func TestPace(t *testing.T) {
	for _, c := range []struct{ looks, says string }{
		{"bb.bb.bb.", "         "},
		{"bbbbbbb", "  h    "},
		{".......b......", "    r       r "},
		{"bbb....b.....bbb", "  h         r  h"},
	} {
		var p pace
		said := ""
		for _, look := range c.looks {
			switch hard, rest := p.look(look == 'b'); {
			case hard && rest:
				said += "?"
			case hard:
				said += "h"
			case rest:
				said += "r"
			default:
				said += " "
			}
		}
		if said != c.says {
			t.Errorf("%s: it says %q, want %q", c.looks, said, c.says)
		}
	}
}
