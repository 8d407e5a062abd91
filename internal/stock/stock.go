// Package stock knows what a supplier's list of delivered tokens says: each token's
// serial, the number on its casing, its lot and its model.
//
// It owns the list's form (CSV) and what must hold in it. It must not know where
// tokens are kept, nor what becomes of them.
package stock

import "fmt"

// Token is one delivered token.
type Token struct {
	// Serial is what the chip shows (CK_TOKEN_INFO.serialNumber, blanks trimmed), Casing what
	// is printed on its outside. They are two numbers, even where a maker prints the one as
	// the other.
	Serial string `json:"tokenSerial"`
	Casing string `json:"casingNumber"`
	Lot    string `json:"lot"`
	// Model is what the chip shows (CK_TOKEN_INFO.model, blanks trimmed).
	Model string `json:"model"`
}

// List is one delivery: some tokens of one lot and model.
type List struct {
	Tokens []Token
	// SHA256 is over the file, in hexadecimal.
	SHA256 string
	lines  []int           // of each token, counted from 1
	fields [fieldCount]int // the column of each field, counted from 0
}

// Field names a column.
type Field int

// Fields of a row.
const (
	FieldSerial Field = iota
	FieldCasing
	FieldLot
	FieldModel
	fieldCount
)

// names are what a column's head may say: the first is how the field is called.
func (f Field) names() [2]string {
	return [fieldCount][2]string{{"token_serial", "令牌序列号"}, {"casing_number", "外壳编号"}, {"lot", "批次"}, {"model", "型号"}}[f]
}

// String is the field's name.
func (f Field) String() string { return f.names()[0] }

// A RowError says what is wrong with a list, where, and what to do. Line and Column
// count from 1, Column as a spreadsheet counts its columns; 0 is the whole line.
type RowError struct {
	Line, Column int
	// Name is what the column is called; "" where that is not known.
	Name   string
	Detail string
}

// Error implements error.
func (e *RowError) Error() string {
	where := fmt.Sprintf("line %d", e.Line)
	if e.Column > 0 {
		where += fmt.Sprintf(", column %d", e.Column)
	}
	if e.Name != "" {
		where += " (" + e.Name + ")"
	}
	return where + ": " + e.Detail
}

// Fault is a RowError about a field of the n-th token, for what only the stock can tell.
func (l *List) Fault(n int, f Field, format string, args ...any) *RowError {
	return &RowError{Line: l.lines[n], Column: l.fields[f] + 1, Name: f.String(), Detail: fmt.Sprintf(format, args...)}
}
