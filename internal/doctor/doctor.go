// Package doctor says what is wrong with a station, and how to mend it.
//
// It owns what a finding is, what the machine itself shows (folders, disk, core dumps), and
// what may be in a support bundle. It must not know tokens, servers or journals: whoever
// asks it brings what was found there.
package doctor

import "slices"

// State is how a thing was found.
type State string

// States, from best to worst.
const (
	Good State = "good"
	// Note is nothing wrong, but worth knowing.
	Note State = "note"
	// Wrong keeps the station from its work, or soon will.
	Wrong State = "wrong"
)

// Finding is one thing that was looked at.
type Finding struct {
	// Check is what was looked at, and Code what was found, both in words of ours: they may be in a
	// support bundle.
	Check string `json:"check"`
	State State  `json:"state"`
	Code  string `json:"code"`
	// Found is for the person at the station. It may hold names, paths and what others have
	// said, and is in no bundle.
	Found string `json:"found"`
	// Mend is what to do about it; "" where there is nothing to do.
	Mend string `json:"mend,omitempty"`
	// Number is what was measured, where something was; its unit belongs to the check.
	Number *int64 `json:"number,omitempty"`
}

// Worst is the worst state of all.
func Worst(all []Finding) State {
	for _, s := range []State{Wrong, Note} {
		if slices.ContainsFunc(all, func(f Finding) bool { return f.State == s }) {
			return s
		}
	}
	return Good
}

// With is the finding with a number.
func (f Finding) With(n int64) Finding {
	f.Number = &n
	return f
}
