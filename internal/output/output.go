// Package output prints what a command found, as a table for people or as JSON
// for programs (-o table|json). It owns layout only; it must not know what the
// rows mean.
package output

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/pflag"
)

// Format is the value of the flag -o. It implements pflag.Value.
type Format string

// Formats.
const (
	Table Format = "table"
	JSON  Format = "json"
)

// AddFlag adds -o, --output to the flags of a command; f holds the default.
func AddFlag(flags *pflag.FlagSet, f *Format) {
	*f = Table
	flags.VarP(f, "output", "o", "output format: table or json")
}

// Set implements pflag.Value.
func (f *Format) Set(s string) error {
	switch Format(s) {
	case Table, JSON:
		*f = Format(s)
		return nil
	}
	return errors.New("use table or json")
}

// String implements pflag.Value.
func (f *Format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *Format) Type() string { return "table|json" }

// Rows is a table: a header and its rows, or a sentence when there are none.
type Rows struct {
	Header []string
	Rows   [][]string
	// Empty is said instead of an empty table.
	Empty string
	// Facts says that the first column holds words of the program.
	Facts bool
}

// In gives the table with the words of the program in another language.
func (r Rows) In(say func(english string) string) Rows {
	out := r
	out.Empty = say(r.Empty)
	out.Header = make([]string, len(r.Header))
	for i, h := range r.Header {
		out.Header[i] = say(h)
	}
	if r.Facts {
		out.Rows = make([][]string, len(r.Rows))
		for i, line := range r.Rows {
			out.Rows[i] = append([]string{say(line[0])}, line[1:]...)
		}
	}
	return out
}

// Print writes rows as a table, or value as JSON.
func (f Format) Print(w io.Writer, rows Rows, value any) error {
	if f == JSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(value)
	}
	return rows.write(w)
}

func (r Rows) write(w io.Writer) error {
	if len(r.Rows) == 0 {
		_, err := fmt.Fprintln(w, r.Empty)
		return err
	}
	lines := append([][]string{r.Header}, r.Rows...)
	widths := make([]int, len(r.Header))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], Columns().StringWidth(Clean(cell)))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			cell = Clean(cell)
			b.WriteString(cell)
			if i < len(line)-1 {
				// Chinese characters are two columns wide, so bytes and runes both count wrongly.
				b.WriteString(strings.Repeat(" ", widths[i]-Columns().StringWidth(cell)+2))
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// Clean keeps control characters, of which token labels may hold any, from reaching a terminal.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '·'
		}
		return r
	}, s)
}

// Columns counts the columns of a terminal: Chinese characters take two. What
// Unicode calls ambiguous, such as "…", takes one whatever the locale says, as
// terminals draw it.
func Columns() *runewidth.Condition {
	c := runewidth.NewCondition()
	c.EastAsianWidth = false
	return c
}
