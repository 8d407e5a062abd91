package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Storage keeps the rows of one log. A row is an entry's line and the hashes that
// became known with it; row n is never changed. Its errors are handed on.
type Storage interface {
	// Size is how many rows there are.
	Size() (int64, error)
	// Hashes returns the hashes of row n.
	Hashes(n int64) ([]byte, error)
	// Add keeps row n, which is Size at that moment.
	Add(n int64, line, hashes []byte) error
}

// Log is an append-only Merkle log over its rows. It is as safe for concurrent use as
// the transaction that its Storage works in.
type Log struct{ Storage }

// Append adds an act at the end, and returns it with its index. What is no entry is an ErrEntry.
func (l Log) Append(e Entry) (Entry, error) {
	n, err := l.Size()
	if err != nil {
		return Entry{}, err
	}
	e.Index = n
	line, err := e.encode()
	if err != nil {
		return Entry{}, err
	}
	return e, l.add(n, line)
}

// AppendLine adds a line that was written elsewhere. One that is no entry, or has
// another index than the next, is an ErrEntry.
func (l Log) AppendLine(line []byte) (Entry, error) {
	e, err := Decode(line)
	if err != nil {
		return Entry{}, err
	}
	n, err := l.Size()
	if err == nil && e.Index != n {
		err = fmt.Errorf("%w: its index is %d where %d comes next", ErrEntry, e.Index, n)
	}
	if err != nil {
		return Entry{}, err
	}
	return e, l.add(n, line)
}

func (l Log) add(n int64, line []byte) error {
	hashes, err := tlog.StoredHashes(n, line, l)
	if err != nil {
		return err
	}
	return l.Add(n, line, join(hashes))
}

// Root is the root hash of the first size entries (RFC 6962, 2.1).
func (l Log) Root(size int64) (tlog.Hash, error) { return tlog.TreeHash(size, l) }

// ProveEntry proves that an entry is among the first size (RFC 6962, 2.1.1).
func (l Log) ProveEntry(size, index int64) (tlog.RecordProof, error) {
	return tlog.ProveRecord(size, index, l)
}

// ReadHashes implements tlog.HashReader: the hash of a whole subtree is in the row
// that completed it, after those of the smaller ones.
func (l Log) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, k := tlog.SplitStoredHashIndex(index)
		row := (k+1)<<level - 1
		hashes, err := l.Hashes(row)
		if err != nil {
			return nil, err
		}
		at := level * tlog.HashSize
		if len(hashes) < at+tlog.HashSize {
			return nil, &BrokenError{Index: row, What: "hashes are missing"}
		}
		copy(out[i][:], hashes[at:])
	}
	return out, nil
}

func join(hashes []tlog.Hash) []byte {
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}
