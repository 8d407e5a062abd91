package audit

import (
	"bytes"
	"fmt"
	"iter"
)

// Memory is a Storage for whoever needs a log for a while only.
type Memory struct{ Rows []Row }

// Size implements Storage.
func (m *Memory) Size() (int64, error) { return int64(len(m.Rows)), nil }

// Hashes implements Storage.
func (m *Memory) Hashes(n int64) ([]byte, error) {
	if n < 0 || n >= int64(len(m.Rows)) {
		return nil, &BrokenError{Index: n, What: "it is missing"}
	}
	return m.Rows[n].Hashes, nil
}

// Add implements Storage.
func (m *Memory) Add(n int64, line, hashes []byte) error {
	if n != int64(len(m.Rows)) {
		return fmt.Errorf("row %d is added to %d", n, len(m.Rows))
	}
	m.Rows = append(m.Rows, Row{bytes.Clone(line), hashes})
	return nil
}

// All goes through the rows.
func (m *Memory) All() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for _, r := range m.Rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}
