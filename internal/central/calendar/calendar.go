// Package calendar knows which days are worked in mainland China, with the days
// that are made up for (调休), and counts working days.
//
// It owns the State Council's yearly notices, built in and from a file, and how a
// term of working days is counted. It must not know what is due then.
package calendar

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

//go:embed notices.txt
var notices string

const (
	// endOfWork is the hour, at Shanghai, at which a working day ends.
	endOfWork = 18
	// lastWeek is the day of December from which a day counts as known only with the next
	// year's notice, which may move days there: that of 2019 made 29 December 2018, a
	// Saturday, a working day, and 31 December, a Monday, a day off.
	lastWeek = 25
)

// A Year is what one notice says. Days are written 2006-01-02.
type Year struct {
	Year   int    `json:"year"`
	Notice string `json:"notice"`
	Number string `json:"number"`
	Issued string `json:"issued"`
	Source string `json:"source"`
	// Off are days off, in the order of the notice; Work are Saturdays and Sundays that
	// are worked.
	Off  []Off    `json:"off"`
	Work []string `json:"work"`
}

// Off is some days off in a row, both ends included.
type Off struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

// A Calendar is some years of notices.
type Calendar struct {
	years map[int]Year
	// moved says of each day that a notice names whether it is worked.
	moved map[string]bool
}

// A MissingYearError says that a day cannot be judged without the notice of a year.
type MissingYearError struct{ Year int }

// Error implements error.
func (e *MissingYearError) Error() string {
	return fmt.Sprintf("the calendar has no working days of %d: the State Council's notice for that year is missing", e.Year)
}

// BuiltIn is the calendar of the notices that the program was built with.
func BuiltIn() (Calendar, error) {
	years, err := Parse(strings.NewReader(notices))
	if err != nil {
		return Calendar{}, fmt.Errorf("the built-in notices: %w", err)
	}
	return Calendar{}.With(years), nil
}

// With is the calendar with more years; one that is there already is replaced.
func (c Calendar) With(years []Year) Calendar {
	all := maps.Clone(c.years)
	if all == nil {
		all = make(map[int]Year)
	}
	for _, y := range years {
		all[y.Year] = y
	}
	moved := make(map[string]bool)
	for _, y := range all {
		for _, o := range y.Off {
			for _, day := range o.days() {
				moved[day] = false
			}
		}
		for _, day := range y.Work {
			moved[day] = true
		}
	}
	return Calendar{years: all, moved: moved}
}

// Years are the years of the calendar, in order.
func (c Calendar) Years() []Year {
	out := slices.Collect(maps.Values(c.years))
	slices.SortFunc(out, func(a, b Year) int { return a.Year - b.Year })
	return out
}

// Due is the end of the last of some working days after a moment, 18:00 at Shanghai.
// The day of the moment itself does not count, whether it is worked or not, and a term
// ends when work ends on its last day (Civil Code of the People's Republic of China,
// articles 201 and 203). A day that cannot be judged is a *MissingYearError.
func (c Calendar) Due(from time.Time, workingDays int) (time.Time, error) {
	shanghai := time.FixedZone("CST", 8*60*60) // no summer time since 1991
	year, month, date := from.In(shanghai).Date()
	day := time.Date(year, month, date, endOfWork, 0, 0, 0, shanghai)
	for left := workingDays; left > 0; {
		day = day.AddDate(0, 0, 1)
		worked, err := c.worked(day)
		if err != nil {
			return time.Time{}, err
		}
		if worked {
			left--
		}
	}
	return day, nil
}

// worked says whether the day of a moment, in its own zone, is worked.
func (c Calendar) worked(day time.Time) (bool, error) {
	needs := []int{day.Year()}
	if day.Month() == time.December && day.Day() >= lastWeek {
		needs = append(needs, day.Year()+1)
	}
	for _, year := range needs {
		if _, known := c.years[year]; !known {
			return false, &MissingYearError{Year: year}
		}
	}
	if worked, moved := c.moved[day.Format(time.DateOnly)]; moved {
		return worked, nil
	}
	return !weekend(day), nil
}

func weekend(day time.Time) bool {
	return day.Weekday() == time.Saturday || day.Weekday() == time.Sunday
}

// days lists the days of a row. What cannot be read as days has none; Parse refuses it.
func (o Off) days() []string {
	from, errFrom := time.Parse(time.DateOnly, o.From)
	to, errTo := time.Parse(time.DateOnly, o.To)
	if errFrom != nil || errTo != nil {
		return nil
	}
	var out []string
	for day := from; !day.After(to) && len(out) < longestRow; day = day.AddDate(0, 0, 1) {
		out = append(out, day.Format(time.DateOnly))
	}
	return out
}
