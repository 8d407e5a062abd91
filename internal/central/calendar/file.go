package calendar

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxFile bounds a file; thirty years of notices are smaller.
	maxFile = 64 << 10
	// longestRow is longer than any row of days off: the longest so far had ten.
	longestRow = 31
)

// A LineError says what is wrong with a line of a file, counted from 1.
type LineError struct {
	Line   int
	Detail string
}

// Error implements error.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Detail) }

// ReadFile reads the notices in a file, as Parse does.
func ReadFile(path string) ([]Year, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the calendar: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	years, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("read the calendar %s: %w", path, err)
	}
	return years, nil
}

// Parse reads notices, one after the other. A notice begins with its year; each line
// is a word and what it says:
//
//	year   2026
//	notice 国务院办公厅关于2026年部分节假日安排的通知
//	number 国办发明电〔2025〕7号
//	issued 2025-11-04
//	source https://www.gov.cn/…
//	off    2026-01-01 2026-01-03 元旦
//	work   2026-01-04
//
// Empty lines and lines that begin with # say nothing. A notice must be whole: its
// five lines of origin, and the days that the law itself makes holidays on a fixed
// date (1 January, 1 and 2 May, 1 to 3 October) off; 2 May only since 2025. A file
// without any notice, or over 64 KiB, is an error; what is wrong with a line is a
// *LineError.
func Parse(r io.Reader) ([]Year, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	case !utf8.Valid(text):
		return nil, errors.New("not UTF-8")
	}
	p := parser{seen: make(map[string]bool)}
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	lines.Buffer(nil, maxFile+1)
	for lines.Scan() {
		p.line++
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		if err := p.take(word, strings.TrimSpace(rest)); err != nil {
			return nil, err
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if err := p.closeYear(); err != nil {
		return nil, err
	}
	if len(p.years) == 0 {
		return nil, errors.New("there is no notice in it: a notice begins with a line such as \"year 2026\"")
	}
	return p.years, nil
}

type parser struct {
	line  int
	years []Year // the last one is being read
	begun int    // the line at which it begins
	// seen are all days that were named.
	seen map[string]bool
}

func (p *parser) fault(format string, args ...any) error {
	return &LineError{Line: p.line, Detail: fmt.Sprintf(format, args...)}
}

func (p *parser) take(word, rest string) error {
	if word == "year" {
		return p.year(rest)
	}
	if len(p.years) == 0 {
		return p.fault("a notice begins with its year, such as \"year 2026\"")
	}
	y := &p.years[len(p.years)-1]
	text := func(field *string) error {
		if *field != "" {
			return p.fault("%s is there twice", word)
		}
		if rest == "" {
			return p.fault("%s says nothing", word)
		}
		*field = rest
		return nil
	}
	switch word {
	case "notice":
		return text(&y.Notice)
	case "number":
		return text(&y.Number)
	case "source":
		return text(&y.Source)
	case "issued":
		if _, err := time.Parse(time.DateOnly, rest); err != nil {
			return p.fault("issued is %q, must be a day such as 2025-11-04", rest)
		}
		return text(&y.Issued)
	case "off":
		return p.off(y, rest)
	case "work":
		return p.work(y, rest)
	}
	return p.fault("%q is none of year, notice, number, issued, source, off, work", word)
}

func (p *parser) year(rest string) error {
	if err := p.closeYear(); err != nil {
		return err
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 2000 || n > 2199 || len(rest) != 4 {
		return p.fault("the year is %q, must be from 2000 to 2199", rest)
	}
	if slices.ContainsFunc(p.years, func(y Year) bool { return y.Year == n }) {
		return p.fault("the year %d is there twice", n)
	}
	p.years, p.begun = append(p.years, Year{Year: n, Work: []string{}}), p.line
	return nil
}

func (p *parser) off(y *Year, rest string) error {
	fields := strings.Fields(rest)
	if len(fields) != 3 {
		return p.fault("off takes two days and a name, such as \"off 2026-01-01 2026-01-03 元旦\"")
	}
	from, err := p.day(y, fields[0])
	if err != nil {
		return err
	}
	to, err := p.day(y, fields[1])
	if err != nil {
		return err
	}
	if to.Before(from) || to.Sub(from) >= longestRow*24*time.Hour {
		return p.fault("from %s to %s is no row of days off: at most %d days, the first one first", fields[0], fields[1], longestRow)
	}
	o := Off{From: fields[0], To: fields[1], Name: fields[2]}
	for _, day := range o.days() {
		if err := p.once(day); err != nil {
			return err
		}
	}
	y.Off = append(y.Off, o)
	return nil
}

func (p *parser) work(y *Year, rest string) error {
	day, err := p.day(y, rest)
	if err != nil {
		return err
	}
	if !weekend(day) {
		return p.fault("%s is a %s, which is worked without being made up for", rest, day.Weekday())
	}
	y.Work = append(y.Work, rest)
	return p.once(rest)
}

// day reads a day that the notice of a year may speak of: one of that year, or of the
// last week of the year before.
func (p *parser) day(y *Year, text string) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, p.fault("%q is no day such as %d-01-04", text, y.Year)
	}
	before := day.Year() == y.Year-1 && day.Month() == time.December && day.Day() >= lastWeek
	if day.Year() != y.Year && !before {
		return time.Time{}, p.fault("%s is not a day of %d, nor of the last week before it", text, y.Year)
	}
	return day, nil
}

func (p *parser) once(day string) error {
	if p.seen[day] {
		return p.fault("%s is named twice", day)
	}
	p.seen[day] = true
	return nil
}

// closeYear sees that the notice that was read last is whole.
func (p *parser) closeYear() error {
	if len(p.years) == 0 {
		return nil
	}
	y := p.years[len(p.years)-1]
	for _, field := range []struct{ word, text string }{{"notice", y.Notice}, {"number", y.Number}, {"issued", y.Issued}, {"source", y.Source}} {
		if field.text == "" {
			return &LineError{Line: p.begun, Detail: fmt.Sprintf("the notice of %d has no line %q", y.Year, field.word)}
		}
	}
	c := Calendar{}.With([]Year{y})
	for _, day := range lawful(y.Year) {
		if worked, named := c.moved[day]; !named || worked {
			return &LineError{Line: p.begun, Detail: fmt.Sprintf("the notice of %d does not say that %s is off, which it is by law: is it whole?", y.Year, day)}
		}
	}
	return nil
}

// lawful are the holidays on a fixed date of the solar calendar (全国年节及纪念日放假办法,
// article 2; 2 May since its revision that came into force in 2025).
func lawful(year int) []string {
	days := []string{"01-01", "05-01", "10-01", "10-02", "10-03"}
	if year >= 2025 {
		days = append(days, "05-02")
	}
	for i, day := range days {
		days[i] = fmt.Sprintf("%d-%s", year, day)
	}
	return days
}
