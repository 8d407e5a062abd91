package calendar

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const whole = `# a comment
year	2026
notice N
number 1
issued 2025-11-04
source here
off 2026-01-01 2026-01-03 元旦
off 2026-05-01 2026-05-05 劳动节
off 2026-10-01 2026-10-07 国庆节
work 2026-01-04
`

func text(s string) io.Reader { return strings.NewReader(s) }

func TestParseRefuses(t *testing.T) {
	if years, err := Parse(text(whole)); err != nil || len(years) != 1 {
		t.Fatalf("the whole one: %v, %v", years, err)
	}
	rows := []struct {
		name, old, new string
		line           int
	}{
		{"a word that is none", "source here", "url here", 6},
		{"a word in capitals", "off 2026-01-01", "OFF 2026-01-01", 7},
		{"days before any year", "year\t2026\n", "", 2},
		{"no year such as that", "year\t2026", "year 26", 2},
		{"a signed year", "year\t2026", "year +2026", 2},
		{"no such day", "work 2026-01-04", "work 2026-02-30", 10},
		{"a day that is no day", "work 2026-01-04", "work Sunday", 10},
		{"a day of another year", "work 2026-01-04", "work 2027-01-03", 10},
		{"a day of the year before, too early", "work 2026-01-04", "work 2025-12-21", 10},
		{"a make-up day on a weekday", "work 2026-01-04", "work 2026-01-05", 10},
		{"a day off and worked", "work 2026-01-04", "work 2026-01-03", 10},
		{"a day off twice", "off 2026-05-01", "off 2026-01-03 2026-01-04 元旦\noff 2026-05-01", 8},
		{"a make-up day twice", "work 2026-01-04", "work 2026-01-04\nwork 2026-01-04", 11},
		{"two days the wrong way round", "2026-10-01 2026-10-07", "2026-10-07 2026-10-01", 9},
		{"a month off", "2026-10-01 2026-10-07", "2026-10-01 2026-11-07", 9},
		{"no name", "2026-01-03 元旦", "2026-01-03", 7},
		{"one day alone", "off 2026-01-01 2026-01-03 元旦", "off 2026-01-01 元旦", 7},
		{"1 January is forgotten", "off 2026-01-01", "off 2026-01-02", 2},
		{"2 May is forgotten", "2026-05-01 2026-05-05", "2026-05-01 2026-05-01", 2},
		{"3 October is forgotten", "2026-10-01 2026-10-07", "2026-10-01 2026-10-02", 2},
		{"no source", "source here\n", "", 2},
		{"an empty source", "source here", "source", 6},
		{"no date of issue", "issued 2025-11-04\n", "", 2},
		{"a wrong date of issue", "issued 2025-11-04", "issued November", 5},
		{"a number twice", "number 1", "number 1\nnumber 2", 5},
		{"a year twice", whole, whole + whole, 12},
		{"the year before is not whole", whole, strings.Replace(whole, "number 1\n", "", 1) + "year 2027\n", 2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			changed := strings.Replace(whole, row.old, row.new, 1)
			years, err := Parse(text(changed))
			var line *LineError
			if !errors.As(err, &line) {
				t.Fatalf("read as %v, error %v", years, err)
			}
			if line.Line != row.line {
				t.Errorf("%v, want it in line %d", err, row.line)
			}
		})
	}
	for name, content := range map[string]string{
		"empty": "", "comments alone": "# year 2026\n\n", "not UTF-8": whole + "\xff", "too large": whole + strings.Repeat("#\n", maxFile),
	} {
		if years, err := Parse(text(content)); err == nil {
			t.Errorf("%s: read as %v", name, years)
		}
	}
}

func TestReadFileNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "calendar.txt")
	if _, err := ReadFile(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("%v, want the file and the line", err)
	}
}

// FuzzParse: whatever is read as notices gives days that stand to each other as they
// must, and reads the same again.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add(notices)
	f.Add("year 2019\noff 2018-12-30 2019-01-01 元旦\nwork 2018-12-29\n")
	f.Fuzz(func(t *testing.T, s string) {
		years, err := Parse(text(s))
		if err != nil {
			return
		}
		again, err := Parse(text(s))
		if err != nil || !reflect.DeepEqual(years, again) {
			t.Fatalf("read differently the second time: %v", err)
		}
		c := Calendar{}.With(years)
		for _, y := range years {
			if y.Notice == "" || y.Number == "" || y.Issued == "" || y.Source == "" {
				t.Errorf("%d has no origin: %+v", y.Year, y)
			}
			for _, day := range y.Work {
				d, err := time.Parse(time.DateOnly, day)
				if err != nil || !weekend(d) || !c.moved[day] {
					t.Errorf("%s is not a made-up day: %v", day, err)
				}
			}
			// A term ends on a worked day, or where no notice is known any more.
			due, err := c.Due(time.Date(y.Year, 3, 1, 0, 0, 0, 0, time.UTC), 3)
			var missing *MissingYearError
			switch worked, _ := c.worked(due); {
			case errors.As(err, &missing) && c.years[missing.Year].Year == 0:
			case err != nil || !worked || due.Hour() != endOfWork:
				t.Errorf("%d: due %s, %v", y.Year, due, err)
			}
		}
	})
}
