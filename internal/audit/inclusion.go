package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// CheckEntry checks that a line is the entry at an index of the log that a checkpoint
// is of. proof holds the hashes that ProveEntry gave (RFC 6962, 2.1.1). Anything else is
// an ErrCheckpoint.
func CheckEntry(c Checkpoint, index int64, line []byte, proof [][]byte) error {
	hashes := make(tlog.RecordProof, len(proof))
	for i, h := range proof {
		if len(h) != tlog.HashSize {
			return fmt.Errorf("%w: a hash of the proof has %d bytes", ErrCheckpoint, len(h))
		}
		copy(hashes[i][:], h)
	}
	if err := tlog.CheckRecord(hashes, c.Size, c.Root, index, tlog.RecordHash(line)); err != nil {
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return nil
}
