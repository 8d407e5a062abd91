package packing

import (
	"fmt"
	"regexp"
	"sync"
)

// What a code has to be like as a whole. An order's id and a serial are as the contract
// has them; a waybill fits the contract, and a carrier's pattern beside.
// They are compiled when they are wanted, for every process of a module is this program, too.
var (
	orderID     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Z0-9][A-Z0-9-]{2,23}$`) })
	tokenSerial = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[!-~]([ -~]{0,62}[!-~])?$`) })
	waybill     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9-]{4,40}$`) })
)

// Shapes are what codes have to be like as a whole, for a scanner's eye: each is a regular
// expression that Go and ECMAScript read alike. What a code is follows from what is known.
func Shapes() []string {
	return []string{orderID().String(), tokenSerial().String(), waybill().String()}
}

// Grammar says which codes are waybills.
type Grammar struct{ carriers []*regexp.Regexp }

// NewGrammar compiles the carriers' patterns, each of which has to fit a whole waybill.
func NewGrammar(carriers []string) (Grammar, error) {
	var g Grammar
	for _, p := range carriers {
		// By itself first, so that no bracket of it closes ours.
		if _, err := regexp.Compile(p); err != nil {
			return Grammar{}, fmt.Errorf("pattern of waybills %q: %w", p, err)
		}
		whole, err := regexp.Compile("^(?:" + p + ")$")
		if err != nil {
			return Grammar{}, fmt.Errorf("pattern of waybills %q: %w", p, err)
		}
		g.carriers = append(g.carriers, whole)
	}
	return g, nil
}

// IsWaybill reports whether the code as a whole is a waybill of a known carrier.
func (g Grammar) IsWaybill(code string) bool {
	if !waybill().MatchString(code) {
		return false
	}
	for _, c := range g.carriers {
		if c.MatchString(code) {
			return true
		}
	}
	return false
}

// legible refuses what no code of ours looks like: anything that is not one whole order
// number, token serial or waybill. A serial is any visible ASCII, so that a control
// character or a line feed of the scanner's, a blank at an end, or what is too long is
// what this catches.
func (g Grammar) legible(code string) error {
	if orderID().MatchString(code) || tokenSerial().MatchString(code) || g.IsWaybill(code) {
		return nil
	}
	return refuse(NoCode, "This is no order number, token serial or waybill: %q. Scan it again.", clip(code))
}

func clip(s string) string {
	if r := []rune(s); len(r) > 64 {
		return string(r[:63]) + "…"
	}
	return s
}
