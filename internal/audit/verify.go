package audit

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrBroken says that a record is not what it was: an entry was changed, dropped or
// moved, or the whole was put back to an earlier state.
var ErrBroken = errors.New("the record is broken")

// BrokenError says what is wrong with a record, and where. It is an ErrBroken.
type BrokenError struct {
	// Index is the entry at which it was noticed; whatever is wrong may be before it.
	Index int64
	What  string
	Err   error
}

// Error implements error.
func (e *BrokenError) Error() string {
	text := fmt.Sprintf("%s at entry %d: %s", ErrBroken, e.Index, e.What)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives ErrBroken and the cause.
func (e *BrokenError) Unwrap() []error { return []error{ErrBroken, e.Err} }

// Row is what is kept of one entry. Hashes may be nil where they are not kept.
type Row struct{ Line, Hashes []byte }

// Verify computes every hash of a log from its entries, in the order of their index, and
// compares what is kept. Each of the checkpoints must be of this very log, as it is or
// as it was: then whatever they cover is what it was when they were made. It returns the
// root of the whole. A record that does not hold is a *BrokenError.
func Verify(rows iter.Seq2[Row, error], checkpoints ...Checkpoint) (Checkpoint, error) {
	return VerifyFrom(Base{}, rows, checkpoints...)
}

// verify goes on from an edge.
func verify(whole edge, rows iter.Seq2[Row, error], checkpoints []Checkpoint) (Checkpoint, error) {
	pending := slices.SortedFunc(slices.Values(checkpoints), func(x, y Checkpoint) int { return int(x.Size - y.Size) })
	passed := func() (err error) {
		for len(pending) > 0 && pending[0].Size == whole.size && err == nil {
			err = whole.compare(pending[0])
			pending = pending[1:]
		}
		return err
	}
	if err := passed(); err != nil {
		return Checkpoint{}, err
	}
	for row, err := range rows {
		if err != nil {
			return Checkpoint{}, err
		}
		if err := whole.take(row); err != nil {
			return Checkpoint{}, err
		}
		if err := passed(); err != nil {
			return Checkpoint{}, err
		}
	}
	if len(pending) > 0 {
		return Checkpoint{}, &BrokenError{Index: whole.size, What: fmt.Sprintf("it ends here, and had %d entries before", pending[len(pending)-1].Size)}
	}
	root, err := tlog.TreeHash(whole.size, &whole)
	return Checkpoint{Size: whole.size, Root: root}, err
}

// edge is the last whole subtree of each size: all that is needed to go on with a log.
type edge struct {
	size   int64
	levels [63]tlog.Hash
}

// take adds a row.
func (e *edge) take(row Row) error {
	entry, err := Decode(row.Line)
	if err != nil {
		return &BrokenError{Index: e.size, What: "its line is not one", Err: err}
	}
	if entry.Index != e.size {
		return &BrokenError{Index: e.size, What: fmt.Sprintf("the entry here has the index %d", entry.Index)}
	}
	hashes, err := tlog.StoredHashes(e.size, row.Line, e)
	if err != nil {
		return err
	}
	if row.Hashes != nil && !bytes.Equal(row.Hashes, join(hashes)) {
		return &BrokenError{Index: e.size, What: "its hashes do not follow from the entries"}
	}
	copy(e.levels[:], hashes)
	e.size++
	return nil
}

// compare holds the log, as far as it was read, against a checkpoint of the same size.
func (e *edge) compare(c Checkpoint) error {
	root, err := tlog.TreeHash(e.size, e)
	if err != nil {
		return err
	}
	if root != c.Root {
		return &BrokenError{Index: e.size, What: "the entries before do not lead to the checkpoint of this size"}
	}
	return nil
}

// ReadHashes implements tlog.HashReader for what this log asks of itself.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, k := tlog.SplitStoredHashIndex(index)
		if k != e.size>>level-1 {
			return nil, fmt.Errorf("hash %d is not at the edge of %d entries", index, e.size)
		}
		out[i] = e.levels[level]
	}
	return out, nil
}
