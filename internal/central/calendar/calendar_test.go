package calendar

import (
	"errors"
	"testing"
	"time"
)

func builtIn(t *testing.T) Calendar {
	t.Helper()
	c, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

func TestDue(t *testing.T) {
	c := builtIn(t)
	rows := []struct{ name, approved, due string }{
		{"an ordinary week", "2026-11-23T10:20:00+08:00", "2026-11-26T18:00:00+08:00"},
		{"over a weekend", "2026-11-26T10:20:00+08:00", "2026-12-01T18:00:00+08:00"},
		{"on a Saturday", "2026-11-28T09:00:00+08:00", "2026-12-02T18:00:00+08:00"},
		{"the first second of a day", "2026-11-23T00:00:00+08:00", "2026-11-26T18:00:00+08:00"},
		{"the last second of a day, after work", "2026-11-23T23:59:59+08:00", "2026-11-26T18:00:00+08:00"},
		{"the next day at Shanghai already", "2026-11-23T16:00:00Z", "2026-11-27T18:00:00+08:00"},
		{"still the same day at Shanghai", "2026-11-23T15:59:59Z", "2026-11-26T18:00:00+08:00"},
		{"into Spring Festival, with a Saturday worked before", "2026-02-12T10:00:00+08:00", "2026-02-24T18:00:00+08:00"},
		{"in Spring Festival", "2026-02-17T10:00:00+08:00", "2026-02-26T18:00:00+08:00"},
		{"on a make-up Saturday", "2026-02-14T10:00:00+08:00", "2026-02-26T18:00:00+08:00"},
		{"to a make-up Saturday", "2026-02-25T10:00:00+08:00", "2026-02-28T18:00:00+08:00"},
		{"over 1 May with the make-up day after", "2026-04-30T10:00:00+08:00", "2026-05-08T18:00:00+08:00"},
		{"to the make-up Saturday after 1 May", "2026-05-06T10:00:00+08:00", "2026-05-09T18:00:00+08:00"},
		{"over the Dragon Boat Festival", "2026-06-17T10:00:00+08:00", "2026-06-23T18:00:00+08:00"},
		{"to a make-up Sunday", "2026-09-16T10:00:00+08:00", "2026-09-20T18:00:00+08:00"},
		{"over the Mid-Autumn Festival", "2026-09-24T10:00:00+08:00", "2026-09-30T18:00:00+08:00"},
		{"over National Day", "2026-09-30T10:00:00+08:00", "2026-10-10T18:00:00+08:00"},
		{"over National Day and Mid-Autumn of 2025", "2025-09-30T10:00:00+08:00", "2025-10-11T18:00:00+08:00"},
		{"over Spring Festival of 2025", "2025-01-26T10:00:00+08:00", "2025-02-06T18:00:00+08:00"},
		{"in the last days before Spring Festival of 2024", "2024-02-08T10:00:00+08:00", "2024-02-19T18:00:00+08:00"},
		{"over the change of the year", "2025-12-31T10:00:00+08:00", "2026-01-06T18:00:00+08:00"},
		{"over the change of the year 2025", "2024-12-30T10:00:00+08:00", "2025-01-03T18:00:00+08:00"},
		{"to the last day before the last week", "2026-12-21T10:00:00+08:00", "2026-12-24T18:00:00+08:00"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, err := c.Due(at(t, row.approved), 3)
			if err != nil {
				t.Fatal(err)
			}
			if got.Format(time.RFC3339) != row.due {
				t.Errorf("approved %s: due %s, want %s", row.approved, got.Format(time.RFC3339), row.due)
			}
		})
	}
}

func TestDueWithoutTheYear(t *testing.T) {
	c := builtIn(t)
	rows := []struct {
		name, approved string
		missing        int
	}{
		{"before all notices", "2023-06-01T10:00:00+08:00", 2023},
		{"after all notices", "2027-03-01T10:00:00+08:00", 2027},
		{"into the next year", "2026-12-31T10:00:00+08:00", 2027},
		{"into the last week, where the next notice may move days", "2026-12-22T10:00:00+08:00", 2027},
		{"the last day at Shanghai, still the day before elsewhere", "2026-12-31T00:30:00Z", 2027},
		{"the last moment before there is a notice", "2023-12-31T15:59:59Z", 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			due, err := c.Due(at(t, row.approved), 3)
			var missing *MissingYearError
			switch {
			case row.missing == 0:
				if err != nil {
					t.Errorf("refused: %v", err)
				}
			case !errors.As(err, &missing) || missing.Year != row.missing:
				t.Errorf("due %s, error %v, want the year %d to be missing", due, err, row.missing)
			}
		})
	}
}

// TestEveryHoliday has the holidays again, as they stand in the sentences of the
// notices (N月N日至N日放假), and how many days each says it has (共N天).
func TestEveryHoliday(t *testing.T) {
	type holiday struct {
		from, to string
		days     int
	}
	want := map[int][]holiday{
		2024: {{"01-01", "01-01", 1}, {"02-10", "02-17", 8}, {"04-04", "04-06", 3}, {"05-01", "05-05", 5}, {"06-10", "06-10", 1}, {"09-15", "09-17", 3}, {"10-01", "10-07", 7}},
		2025: {{"01-01", "01-01", 1}, {"01-28", "02-04", 8}, {"04-04", "04-06", 3}, {"05-01", "05-05", 5}, {"05-31", "06-02", 3}, {"10-01", "10-08", 8}},
		2026: {{"01-01", "01-03", 3}, {"02-15", "02-23", 9}, {"04-04", "04-06", 3}, {"05-01", "05-05", 5}, {"06-19", "06-21", 3}, {"09-25", "09-27", 3}, {"10-01", "10-07", 7}},
	}
	years := builtIn(t).Years()
	if len(years) != len(want) {
		t.Errorf("%d notices, want %d", len(years), len(want))
	}
	for _, y := range years {
		if len(y.Off) != len(want[y.Year]) {
			t.Fatalf("%d has %d holidays, want %d", y.Year, len(y.Off), len(want[y.Year]))
		}
		for i, w := range want[y.Year] {
			if o := y.Off[i]; o.From[5:] != w.from || o.To[5:] != w.to || len(o.days()) != w.days {
				t.Errorf("%d %s is %s to %s, %d days; want %v", y.Year, o.Name, o.From, o.To, len(o.days()), w)
			}
		}
	}
}

// TestEveryMakeUpDay has the days again, as they stand in the sentences of the
// notices (…上班), so that a slip in one of the two lists shows.
func TestEveryMakeUpDay(t *testing.T) {
	c := builtIn(t)
	for _, day := range []string{
		"2024-02-04", "2024-02-18", "2024-04-07", "2024-04-28", "2024-05-11", "2024-09-14", "2024-09-29", "2024-10-12",
		"2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11",
		"2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10",
	} {
		before := at(t, day+"T00:00:00+08:00").Add(-time.Second)
		if due, err := c.Due(before, 1); err != nil || due.Format(time.DateOnly) != day {
			t.Errorf("one working day after the day before %s is %s, %v", day, due.Format(time.DateOnly), err)
		}
	}
}

// TestTheNextNoticeMovesDecember: the notice of 2019, which reached into 2018.
func TestTheNextNoticeMovesDecember(t *testing.T) {
	years, err := Parse(text(`
year 2019
notice 国务院办公厅关于2019年部分节假日安排的通知
number 国办发明电〔2018〕15号
issued 2018-12-06
source https://www.gov.cn/
off 2018-12-30 2019-01-01 元旦
work 2018-12-29
off 2019-05-01 2019-05-01 劳动节
off 2019-10-01 2019-10-07 国庆节
`))
	if err != nil {
		t.Fatal(err)
	}
	c := Calendar{}.With(years).With([]Year{{Year: 2018}})
	due, err := c.Due(at(t, "2018-12-27T10:00:00+08:00"), 3)
	if err != nil || due.Format(time.DateOnly) != "2019-01-02" {
		t.Errorf("due %s, %v, want 2 January: 28 and 29 December are worked", due, err)
	}
}

func TestAYearIsReplaced(t *testing.T) {
	years, err := Parse(text(whole + "work 2026-11-28\n"))
	if err != nil {
		t.Fatal(err)
	}
	built := builtIn(t)
	c := built.With(years)
	if due, err := c.Due(at(t, "2026-11-26T10:20:00+08:00"), 3); err != nil || due.Format(time.DateOnly) != "2026-11-30" {
		t.Errorf("with another notice: due %s, %v, want 30 November", due, err)
	}
	if due, err := c.Due(at(t, "2026-02-12T10:00:00+08:00"), 3); err != nil || due.Format(time.DateOnly) != "2026-02-17" {
		t.Errorf("the notice that was replaced still counts: due %s, %v", due, err)
	}
	if due, err := built.Due(at(t, "2026-11-26T10:20:00+08:00"), 3); err != nil || due.Format(time.DateOnly) != "2026-12-01" {
		t.Errorf("the built-in one changed: due %s, %v", due, err)
	}
	if got := built.Years()[2].Notice; got == "N" {
		t.Errorf("the built-in notice of 2026 was replaced for all")
	}
}
