package console

import (
	"cmp"
	"slices"
	"time"
)

// Shift is what was done in a day, counted.
type Shift struct {
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	Done        int       `json:"done"`
	Failed      int       `json:"failed"`
	Quarantined int       `json:"quarantined"`
	// Hours are those from the first in which a job ended to the last.
	Hours []Hour `json:"hours"`
	// Bays are those at which a job ended, the slowest first.
	Bays []BayTime `json:"bays"`
	Left Left      `json:"left"`
}

// Hour is what was done in one hour.
type Hour struct {
	From        time.Time `json:"from"`
	Done        int       `json:"done"`
	Failed      int       `json:"failed"`
	Quarantined int       `json:"quarantined"`
}

// BayTime is what was done at one bay.
type BayTime struct {
	Bay    string `json:"bay"`
	Done   int    `json:"done"`
	Failed int    `json:"failed"` // or quarantined
	// Median is what a finished key has taken of work on its token; 0 where none is finished.
	Median time.Duration `json:"-"`
	// Seconds are Median.
	Seconds float64 `json:"medianSeconds"`
}

// DayAt is the day of a moment, from midnight to midnight by the clock on the wall there.
func DayAt(t time.Time, zone *time.Location) (from, to time.Time) {
	y, m, d := t.In(zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, zone), time.Date(y, m, d+1, 0, 0, 0, 0, zone)
}

// Count counts what was done from one moment on and before another. Hours are counted from the
// first moment, so that a day on which clocks are put back has 25.
func Count(d Day, from, to time.Time) Shift {
	s := Shift{From: from, To: to, Left: d.Left, Hours: []Hour{}, Bays: []BayTime{}}
	hours := map[int]*Hour{}
	bays, times := map[string]*BayTime{}, map[string][]time.Duration{}
	for _, e := range d.Ends {
		n := int(e.At.Sub(from) / time.Hour)
		if hours[n] == nil {
			hours[n] = &Hour{}
		}
		if bays[e.Bay] == nil {
			bays[e.Bay] = &BayTime{Bay: e.Bay}
		}
		switch e.State {
		case "finished":
			s.Done++
			hours[n].Done++
			bays[e.Bay].Done++
			times[e.Bay] = append(times[e.Bay], e.Busy)
		case "quarantined":
			s.Quarantined++
			hours[n].Quarantined++
			bays[e.Bay].Failed++
		default:
			s.Failed++
			hours[n].Failed++
			bays[e.Bay].Failed++
		}
	}
	for n, last := 0, int(to.Sub(from)/time.Hour); n <= last && len(hours) > 0; n++ {
		h := hours[n]
		if h == nil && len(s.Hours) == 0 {
			continue // before the first
		}
		if h == nil {
			h = &Hour{}
		}
		delete(hours, n)
		h.From = from.Add(time.Duration(n) * time.Hour)
		s.Hours = append(s.Hours, *h)
	}
	for name, b := range bays {
		if all := slices.Sorted(slices.Values(times[name])); len(all) > 0 {
			b.Median = all[len(all)/2]
			b.Seconds = b.Median.Seconds()
		}
		s.Bays = append(s.Bays, *b)
	}
	slices.SortFunc(s.Bays, func(a, b BayTime) int { return cmp.Or(cmp.Compare(b.Median, a.Median), cmp.Compare(a.Bay, b.Bay)) })
	return s
}

// Slowest is the bay at which a finished key takes longest; "" where there are no two to compare.
func (s Shift) Slowest() string {
	if len(s.Bays) < 2 || s.Bays[1].Median == 0 || s.Bays[0].Median == s.Bays[1].Median {
		return ""
	}
	return s.Bays[0].Bay
}

// bar is the width of the longest bar, in its own units.
const bar = 240

// today is the screen of what was done since midnight, and what is left.
func (c *Console) today(string) screen {
	return func(w *words, p Person) (frame, error) {
		f := c.begin(w, p, "today")
		from, to := DayAt(c.Now(), c.Zone)
		day, err := c.Books.Day(from, to)
		if err != nil {
			return frame{}, err
		}
		s := Count(day, from, to)
		most := 1
		for _, h := range s.Hours {
			most = max(most, h.Done+h.Failed+h.Quarantined)
		}
		type row struct {
			Hour
			Good, Bad int // widths of the bar's parts
		}
		var rows []row
		for _, h := range s.Hours {
			rows = append(rows, row{h, bar * h.Done / most, bar * (h.Failed + h.Quarantined) / most})
		}
		f.add("sums", "sums", map[string]any{"S": s})
		f.add("left", "left", map[string]any{"L": s.Left})
		if len(rows) == 0 {
			f.add("none", "none", map[string]any{"Text": "today.none"})
			return f.frame, f.err
		}
		f.add("hours", "hours", map[string]any{"Rows": rows, "Bar": bar})
		f.add("paces", "paces", map[string]any{"Bays": s.Bays, "Slowest": s.Slowest()})
		return f.frame, f.err
	}
}
