// Package packingtest is what a careful person does with one order's keys, a box and a hand:
// no words, no acts, no parcels. Whatever packs is compared with it. Tests only. It must not
// know how anything packs.
package packingtest

import (
	"slices"
	"strings"
)

// Box knows the order by its own list.
type Box struct {
	// Want are the serials of the order's keys, Keys those in the box, in the order in which
	// they were put there.
	Want, Keys []string
	// Waybill reports that the paper is on it, Shut that nothing goes in or out any more.
	Waybill, Shut bool
	after         []string // all that was put there last: keys, and the paper
}

func paper(code string) bool { return strings.HasPrefix(code, "SF") }

// Complete reports whether every key is there.
func (b *Box) Complete() bool {
	return !slices.ContainsFunc(b.Want, func(k string) bool { return !slices.Contains(b.Keys, k) })
}

// Put puts a key, or the paper, to the box, and reports whether it belongs there now.
func (b *Box) Put(code string) bool {
	switch {
	case b.Shut:
		return false
	case paper(code):
		if b.Waybill || !b.Complete() {
			return false
		}
		b.Waybill = true
	case !slices.Contains(b.Want, code) || slices.Contains(b.Keys, code):
		return false
	default:
		b.Keys = append(b.Keys, code)
	}
	b.after = append(b.after, code)
	return true
}

// Bare reports that nothing is left to be taken back from an open box.
func (b *Box) Bare() bool { return !b.Shut && len(b.after) == 0 }

// TakeBack takes back what was put there last.
func (b *Box) TakeBack() bool {
	if b.Shut || len(b.after) == 0 {
		return false
	}
	last := b.after[len(b.after)-1]
	b.after = b.after[:len(b.after)-1]
	if paper(last) {
		b.Waybill = false
	} else {
		b.Keys = slices.DeleteFunc(b.Keys, func(k string) bool { return k == last })
	}
	return true
}

// Close shuts it, and reports whether it may be.
func (b *Box) Close() bool {
	if b.Shut || !b.Complete() || !b.Waybill {
		return false
	}
	b.Shut = true
	return true
}

// Permute calls with every order of codes.
func Permute(codes []string, visit func([]string)) {
	var from func(int)
	from = func(k int) {
		if k == len(codes) {
			visit(codes)
			return
		}
		for i := k; i < len(codes); i++ {
			codes[k], codes[i] = codes[i], codes[k]
			from(k + 1)
			codes[k], codes[i] = codes[i], codes[k]
		}
	}
	from(0)
}
