package consoletest

import _ "embed"

// judge.js looks at what a page looks like and what it says to who cannot see it.
//
//go:embed judge.js
var judge string

// Faults are what keeps people from reading or reaching what is on the page: text whose
// contrast to its background, as computed from the styles, is below WCAG 2.2's 1.4.3 (AA),
// controls without a name, names that lead nowhere, ids that are there twice, a table
// without headings, a page without a language, a control that the keyboard does not reach.
// seen is how many texts were looked at.
func (b *Browser) Faults() (faults []string, seen int) {
	b.t.Helper()
	type verdict struct {
		Faults []string `json:"faults"`
		Seen   int      `json:"seen"`
	}
	v := Eval[verdict](b, judge)
	return v.Faults, v.Seen
}
