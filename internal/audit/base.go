package audit

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrDropped says that a checkpoint covers less than the beginning of which the entries are
// kept elsewhere, so that it can be compared only there.
var ErrDropped = errors.New("the entries before are no longer kept here")

// Base is the beginning of a log whose lines are kept elsewhere: all that is needed to go
// on with the log, and to compare it with every checkpoint that covers the beginning. The
// zero Base is an empty one.
type Base struct {
	Size int64
	// Hashes are those of the whole subtrees that it consists of, the largest first
	// (RFC 6962, 2.1): as many as Size has bits that are set.
	Hashes []tlog.Hash
}

// subtrees are the whole subtrees that the first size entries consist of, the largest
// first: each one's level, and its place among those of the level.
func subtrees(size int64) iter.Seq2[int, int64] {
	return func(yield func(int, int64) bool) {
		for level := bits.Len64(uint64(size)) - 1; level >= 0; level-- {
			if size>>level&1 == 1 && !yield(level, size>>level-1) {
				return
			}
		}
	}
}

// BaseRows are the rows whose hashes a Base of size needs: those that completed its
// subtrees. The last of them is the row before size.
func BaseRows(size int64) (rows []int64) {
	for level, k := range subtrees(size) {
		rows = append(rows, (k+1)<<level-1)
	}
	return rows
}

// Base is that of the first size entries, from the hashes that are kept.
func (l Log) Base(size int64) (Base, error) {
	var indexes []int64
	for level, k := range subtrees(size) {
		indexes = append(indexes, tlog.StoredHashIndex(level, k))
	}
	hashes, err := l.ReadHashes(indexes)
	return Base{size, hashes}, err
}

// VerifyFrom is Verify of a log whose first lines are kept elsewhere; rows begin after
// them. What is kept of the beginning is believed only because one of the checkpoints
// covers it: without one the record is broken. A checkpoint of less is an ErrDropped.
func VerifyFrom(base Base, rows iter.Seq2[Row, error], checkpoints ...Checkpoint) (Checkpoint, error) {
	begin := edge{size: base.Size}
	n := 0
	for level := range subtrees(base.Size) {
		if n >= len(base.Hashes) {
			return Checkpoint{}, &BrokenError{Index: base.Size, What: "hashes of its beginning are missing"}
		}
		begin.levels[level] = base.Hashes[n]
		n++
	}
	covered := base.Size == 0
	for _, c := range checkpoints {
		if c.Size < base.Size {
			return Checkpoint{}, fmt.Errorf("%w: they begin with %d, and the checkpoint is of %d", ErrDropped, base.Size, c.Size)
		}
		covered = true
	}
	if !covered {
		return Checkpoint{}, &BrokenError{Index: base.Size, What: "its beginning is kept elsewhere, and no checkpoint covers it"}
	}
	return verify(begin, rows, checkpoints)
}
