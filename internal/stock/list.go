package stock

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxFile   = 4 << 20
	maxTokens = 20_000
	// maxSerial and maxModel are the lengths of serialNumber and model in CK_TOKEN_INFO, in
	// bytes (PKCS#11 3.0, 3.2).
	maxSerial, maxModel = 16, 16
	maxCasing, maxLot   = 64, 64
)

// byteOrderMark is what spreadsheets write before UTF-8.
const byteOrderMark = "\ufeff"

// Parse reads a list: CSV (RFC 4180) in UTF-8, whose first line names the columns
// token_serial, casing_number, lot and model, or 令牌序列号, 外壳编号, 批次 and 型号, in any order. All
// tokens of a list are of one lot and one model, and no serial and no casing number
// is in it twice. What is wrong with a row is a *RowError, the first one that is found.
func Parse(r io.Reader) (*List, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, fmt.Errorf("the list is larger than %d bytes: divide it into several files", maxFile)
	case !utf8.Valid(text):
		return nil, &RowError{Line: 1 + bytes.Count(text[:invalidAt(text)], []byte("\n")), Detail: "this is not UTF-8: save the list as \"CSV UTF-8\""}
	}
	sum := sha256.Sum256(text)
	l := &List{SHA256: hex.EncodeToString(sum[:])}
	rows := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(text), byteOrderMark)))
	rows.FieldsPerRecord = -1 // counted here, so that the error says what to do
	head, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the list is empty: its first line names the columns token_serial, casing_number, lot and model")
	}
	if err != nil {
		return nil, rowError(err)
	}
	line, _ := rows.FieldPos(0)
	if err := l.readHead(line, head); err != nil {
		return nil, err
	}
	seen := seen{serials: map[string]int{}, casings: map[string]int{}}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, rowError(err)
		}
		line, _ := rows.FieldPos(0)
		if len(l.Tokens) == maxTokens {
			return nil, &RowError{Line: line, Detail: fmt.Sprintf("a list has %d tokens at most: divide it into several files", maxTokens)}
		}
		if err := l.readRow(line, row, seen); err != nil {
			return nil, err
		}
	}
	if len(l.Tokens) == 0 {
		return nil, errors.New("the list has no tokens: a line for each is wanted after the first")
	}
	return l, nil
}

func invalidAt(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return at
}

// rowError says in our words where the text is no CSV.
func rowError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return &RowError{Line: parse.Line, Detail: fmt.Sprintf("this is no CSV at character %d (%v): check the quotes", parse.Column, parse.Err)}
	}
	return err
}

// readHead finds each field's column.
func (l *List) readHead(line int, head []string) error {
	for i := range l.fields {
		l.fields[i] = -1
	}
	for i, name := range head {
		f := Field(slices.IndexFunc(allFields(), func(f Field) bool { n := f.names(); return slices.Contains(n[:], strings.TrimSpace(name)) }))
		switch {
		case f < 0 && len(head) == 1:
			return &RowError{Line: line, Detail: "there is one column only: separate columns with commas, and name them token_serial, casing_number, lot and model"}
		case f < 0:
			return &RowError{Line: line, Column: i + 1, Detail: fmt.Sprintf("%q is no column of a list: there are token_serial, casing_number, lot and model; take others out", name)}
		case l.fields[f] >= 0:
			return &RowError{Line: line, Column: i + 1, Name: f.String(), Detail: "this column is there twice: take one out"}
		}
		l.fields[f] = i
	}
	for _, f := range allFields() {
		if l.fields[f] < 0 {
			return &RowError{Line: line, Detail: fmt.Sprintf("the column %s is missing: add it", f)}
		}
	}
	return nil
}

func allFields() []Field { return []Field{FieldSerial, FieldCasing, FieldLot, FieldModel} }

// seen are the lines in which serials and casing numbers stand.
type seen struct{ serials, casings map[string]int }

func (l *List) readRow(line int, row []string, seen seen) error {
	if len(row) != len(l.fields) {
		return &RowError{Line: line, Detail: fmt.Sprintf("it has %d columns, and the first line names %d: is there a comma too many, or one missing?", len(row), len(l.fields))}
	}
	n := len(l.Tokens)
	value := func(f Field) string { return row[l.fields[f]] }
	l.Tokens = append(l.Tokens, Token{Serial: value(FieldSerial), Casing: value(FieldCasing), Lot: value(FieldLot), Model: value(FieldModel)})
	l.lines = append(l.lines, line)
	t := l.Tokens[n]
	for _, c := range []struct {
		field Field
		why   string
	}{
		{FieldSerial, number(t.Serial, maxSerial)},
		{FieldCasing, number(t.Casing, maxCasing)},
		{FieldLot, word(t.Lot)},
		{FieldModel, model(t.Model)},
	} {
		if c.why != "" {
			return l.Fault(n, c.field, "%s", c.why)
		}
	}
	if first := l.Tokens[0]; t.Lot != first.Lot {
		return l.Fault(n, FieldLot, "it says %s, and line %d says %s: a list is of one lot; put each lot into a file of its own", t.Lot, l.lines[0], first.Lot)
	} else if t.Model != first.Model {
		return l.Fault(n, FieldModel, "it says %s, and line %d says %s: a lot is of one model; ask the supplier", t.Model, l.lines[0], first.Model)
	}
	if before, twice := seen.serials[t.Serial]; twice {
		return l.Fault(n, FieldSerial, "%s is in line %d already: ask the supplier which casing it belongs to", t.Serial, before)
	}
	if before, twice := seen.casings[t.Casing]; twice {
		return l.Fault(n, FieldCasing, "%s is in line %d already: look at the casings", t.Casing, before)
	}
	seen.serials[t.Serial], seen.casings[t.Casing] = line, line
	return nil
}

// rounded is how a spreadsheet shows a long number, and saves it.
var rounded = regexp.MustCompile(`^[0-9]+([.,][0-9]+)?E\+[0-9]+$`)

// number says what is wrong with a serial or casing number; "" for nothing.
func number(s string, most int) string {
	switch {
	case s == "":
		return "nothing stands here"
	case rounded.MatchString(s):
		return fmt.Sprintf("%s is a number that a spreadsheet has rounded: ask the supplier for the list as text, and open it with this column as text", s)
	case strings.TrimSpace(s) != s:
		return "there is a blank before or behind it: take it out"
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return "it has characters other than printable ASCII: type it anew"
	case len(s) > most:
		return fmt.Sprintf("it is longer than %d characters: is it in the right column?", most)
	}
	return ""
}

var lotForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:+-]*$`)

// word says what is wrong with a lot. The record holds it, so it has the form of an id.
func word(s string) string {
	switch {
	case s == "":
		return "nothing stands here"
	case !lotForm.MatchString(s) || len(s) > maxLot:
		return fmt.Sprintf("a lot is named by up to %d of A-Z, a-z, 0-9 and . _ : + -, beginning with a letter or digit", maxLot)
	}
	return ""
}

// model says what is wrong with a model.
func model(s string) string {
	switch {
	case s == "":
		return "nothing stands here: usbkeyd tokens list shows the model of a token that is plugged in"
	case strings.TrimSpace(s) != s:
		return "there is a blank before or behind it: take it out"
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "it has characters that cannot be printed: type it anew"
	case len(s) > maxModel:
		return fmt.Sprintf("it is longer than %d bytes, which a token cannot show (CK_TOKEN_INFO): usbkeyd tokens list shows the model of a token that is plugged in", maxModel)
	}
	return ""
}
