package soak

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// reading is one number, at a time since the start.
type reading struct {
	at    time.Duration
	value float64
}

// slope is how a number moves over a run, and how far it may.
type slope struct {
	what, unit string
	// most is the rise over the whole measured time that is still none: what a garbage
	// collector, a page cache or a moment leaves lying about. It does not depend on how long
	// a run takes, so that a slow leak is found by a longer one.
	most     float64
	readings []reading
	// warm is when the process is taken to be warm; zero for after the first third of the run.
	warm time.Duration
}

// settled leaves out what a process needs to get warm.
func (s slope) settled() []reading {
	if len(s.readings) == 0 {
		return nil
	}
	from := s.warm
	if from == 0 {
		from = s.readings[len(s.readings)-1].at / 3
	}
	return s.readings[slices.IndexFunc(s.readings, func(r reading) bool { return r.at >= from }):]
}

// fewest is how many readings a verdict needs.
const fewest = 10

// perHour is the median of the slopes of all pairs of readings (Theil and Sen), which a
// few odd ones do not move; rise is what that makes over the measured time.
func (s slope) perHour() (perHour, rise float64, ok bool) {
	all := s.settled()
	if len(all) < fewest {
		return 0, 0, false
	}
	if thin := len(all)/300 + 1; thin > 1 { // enough, and not the square of an hour's
		var kept []reading
		for i := 0; i < len(all); i += thin {
			kept = append(kept, all[i])
		}
		all = kept
	}
	var slopes []float64
	for i, a := range all {
		for _, b := range all[i+1:] {
			slopes = append(slopes, (b.value-a.value)/(b.at-a.at).Hours())
		}
	}
	slices.Sort(slopes)
	perHour = slopes[len(slopes)/2]
	return perHour, perHour * (all[len(all)-1].at - all[0].at).Hours(), true
}

// held reports whether it has not risen.
func (s slope) held() bool {
	_, rise, ok := s.perHour()
	return ok && rise <= s.most
}

// line is a row of the table.
func (s slope) line() string {
	perHour, rise, ok := s.perHour()
	if !ok {
		return fmt.Sprintf("%-34s %d readings are too few: MISS", s.what, len(s.settled()))
	}
	verdict := "pass"
	if !s.held() {
		verdict = "MISS"
	}
	all := s.settled()
	return fmt.Sprintf("%-34s %10.1f to %8.1f %-6s %+10.1f an hour, rise %+8.2f of %6.1f: %s", s.what, all[0].value, all[len(all)-1].value, s.unit, perHour, rise, s.most, verdict)
}

// TestSlope: what stands, swings or falls is held, and what rises is not, however noisy it
// is and however slowly it rises.
func TestSlope(t *testing.T) {
	for name, row := range map[string]struct {
		value func(i int) float64
		held  bool
	}{
		"stands":                 {func(int) float64 { return 30 }, true},
		"falls":                  {func(i int) float64 { return 30 - float64(i)/10 }, true},
		"swings":                 {func(i int) float64 { return 30 + float64(i%7) }, true},
		"warms up, then stands":  {func(i int) float64 { return min(30, float64(i)) }, true},
		"leaks":                  {func(i int) float64 { return 30 + float64(i)/10 }, false},
		"leaks and swings":       {func(i int) float64 { return 30 + float64(i)/10 + float64(i%7) }, false},
		"leaks slowly":           {func(i int) float64 { return 30 + float64(i)/35 }, false},
		"leaks, with odd values": {func(i int) float64 { return 30 + float64(i)/10 - 40*float64(i%9/8) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := slope{what: name, most: 4}
			for i := range 240 {
				s.readings = append(s.readings, reading{time.Duration(i) * time.Second, row.value(i)})
			}
			if s.held() != row.held {
				t.Error(s.line())
			}
			if word := map[bool]string{true: "pass", false: "MISS"}[row.held]; !strings.HasSuffix(s.line(), word) {
				t.Errorf("%s, wanted %s", s.line(), word)
			}
		})
	}
	if s := (slope{most: 4, readings: make([]reading, fewest-1)}); s.held() {
		t.Error("too few readings are taken for none that rise")
	}
}
