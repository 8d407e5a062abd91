package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// Record is what an installation of a station says that it did, as far as it is here.
type Record struct {
	Station    string
	InstanceID string
	Size       int64
	// Note is the signed checkpoint of that size, "" while the record is empty.
	Note string
	// StationKey is the DER SubjectPublicKeyInfo with which the station signed it.
	StationKey []byte
	BegunAt    time.Time
	UpdatedAt  time.Time
	// ForkedAt is since when the record is known to be forked; zero while it holds.
	ForkedAt time.Time
}

// RecordPart is the next part of a record, with the checkpoint that follows from it.
type RecordPart struct {
	Station    string
	InstanceID string
	Checkpoint audit.Checkpoint
	// Note is the checkpoint with the signatures of the station and of this server.
	Note       string
	StationKey []byte
	First      int64
	Lines      [][]byte
}

const recordSelect = `SELECT station, instance_id, size, note, station_key, begun_at, updated_at, forked_at FROM records `

func scanStationRecord(row rowScanner) (Record, error) {
	var r Record
	var begun, updated, forked int64
	err := row.Scan(&r.Station, &r.InstanceID, &r.Size, &r.Note, &r.StationKey, &begun, &updated, &forked)
	r.BegunAt, r.UpdatedAt, r.ForkedAt = fromMillis(begun), fromMillis(updated), fromMillis(forked)
	return r, err
}

// errForked says that a part does not go on from what is here.
var errForked = errors.New("the part does not follow")

// PutRecord adds a part to a record and gives the record as it is then. What is here
// already is compared; a part that differs from it, or does not lead to its checkpoint,
// is RecordForked, for this installation from then on. A repeat changes nothing.
func (s *Store) PutRecord(ctx context.Context, p RecordPart) (out Record, err error) {
	err = s.write(ctx, "keep the record of station "+p.Station, func(t *txn) error {
		if out, err = t.lockedRecord(ctx, p.Station, p.InstanceID); err != nil {
			return err
		}
		switch {
		case !out.ForkedAt.IsZero():
			return refuse(RecordForked, "it was known before")
		case p.First > out.Size:
			return &Refusal{Reason: ResultMismatch, Fields: []Field{{"first", fmt.Sprintf("there are %d entries here", out.Size)}}}
		}
		rows := &recordRows{ctx: ctx, txn: t, part: p, size: out.Size, known: map[int64][]byte{}}
		if err := rows.take(p); err != nil {
			return err
		}
		root, err := (audit.Log{Storage: rows}).Root(p.Checkpoint.Size)
		if err != nil {
			return fmt.Errorf("compute the root: %w", err)
		}
		if root != p.Checkpoint.Root {
			return errForked
		}
		if rows.size == out.Size && out.Size > 0 {
			return nil // nothing is new; the checkpoint that is here covers all of it
		}
		out.Size, out.Note, out.StationKey, out.UpdatedAt = rows.size, p.Note, p.StationKey, fromMillis(t.now())
		return t.One(ctx, "write checkpoint",
			`UPDATE records SET size = $3, note = $4, station_key = $5, updated_at = $6 WHERE station = $1 AND instance_id = $2`,
			p.Station, p.InstanceID, out.Size, out.Note, out.StationKey, t.now())
	})
	if errors.Is(err, errForked) {
		if err = s.noteFork(ctx, p.Station, p.InstanceID); err == nil {
			err = refuse(RecordForked, "what was sent does not follow from the %d entries here", out.Size)
		}
	}
	return out, err
}

// noteFork notes since when a record is known to be forked. That the record began was
// undone with its first part.
func (s *Store) noteFork(ctx context.Context, station, instance string) error {
	return s.write(ctx, "note that the record of station "+station+" is forked", func(t *txn) error {
		if _, err := t.lockedRecord(ctx, station, instance); err != nil {
			return err
		}
		return t.Any(ctx, "note the fork", `UPDATE records SET forked_at = $3 WHERE station = $1 AND instance_id = $2 AND forked_at = 0`,
			station, instance, t.now())
	})
}

// lockedRecord reads a record, which is begun if there is none, and keeps others from it.
func (t *txn) lockedRecord(ctx context.Context, station, instance string) (Record, error) {
	_, err := t.count(ctx, "begin record",
		`INSERT INTO records (station, instance_id, size, begun_at, updated_at) VALUES ($1, $2, 0, $3, $3) ON CONFLICT DO NOTHING`,
		station, instance, t.now())
	if err != nil {
		return Record{}, err
	}
	r, err := scanStationRecord(t.QueryRowContext(ctx, recordSelect+`WHERE station = $1 AND instance_id = $2 `+t.store.dialect.lock("records"), station, instance))
	if err != nil {
		return Record{}, fmt.Errorf("read record: %w", err)
	}
	return r, nil
}

// recordRows is a record as audit.Storage, within a transaction.
type recordRows struct {
	ctx   context.Context
	txn   *txn
	part  RecordPart
	size  int64
	known map[int64][]byte // hashes that were read or written
	entry audit.Entry      // the one that is being added
}

// take compares what is here and adds the rest.
func (r *recordRows) take(p RecordPart) error {
	for i, line := range p.Lines {
		if at := p.First + int64(i); at < r.size {
			var here string
			err := r.txn.QueryRowContext(r.ctx, `SELECT line FROM record_entries WHERE station = $1 AND instance_id = $2 AND n = $3`, p.Station, p.InstanceID, at).Scan(&here)
			if err != nil {
				return fmt.Errorf("read entry %d: %w", at, err)
			}
			if here != string(line) {
				return errForked
			}
			continue
		}
		entry, err := audit.Decode(line)
		if err == nil {
			r.entry = entry
			_, err = (audit.Log{Storage: r}).AppendLine(line)
		}
		if errors.Is(err, audit.ErrEntry) {
			return &Refusal{Reason: ResultMismatch, Fields: []Field{{fmt.Sprintf("entries/%d", i), err.Error()}}}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Size implements audit.Storage.
func (r *recordRows) Size() (int64, error) { return r.size, nil }

// Hashes implements audit.Storage.
func (r *recordRows) Hashes(n int64) ([]byte, error) {
	if h, ok := r.known[n]; ok {
		return h, nil
	}
	var h []byte
	err := r.txn.QueryRowContext(r.ctx, `SELECT hashes FROM record_entries WHERE station = $1 AND instance_id = $2 AND n = $3`,
		r.part.Station, r.part.InstanceID, n).Scan(&h)
	if err != nil {
		return nil, fmt.Errorf("read the hashes of entry %d: %w", n, err)
	}
	r.known[n] = h
	return h, nil
}

// Add implements audit.Storage.
func (r *recordRows) Add(n int64, line, hashes []byte) error {
	err := r.txn.One(r.ctx, "write entry",
		`INSERT INTO record_entries (station, instance_id, n, line, hashes, kind, unit_id, generation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		r.part.Station, r.part.InstanceID, n, string(line), hashes, string(r.entry.Kind), r.entry.Unit, r.entry.Generation)
	if err != nil {
		return err
	}
	r.known[n], r.size = hashes, n+1
	return nil
}

// Record reads the record of one installation; an empty one if there is none.
func (s *Store) Record(ctx context.Context, station, instance string) (Record, error) {
	r, err := scanStationRecord(s.db.Read.QueryRowContext(ctx, recordSelect+`WHERE station = $1 AND instance_id = $2`, station, instance))
	if errors.Is(err, sql.ErrNoRows) {
		return Record{Station: station, InstanceID: instance}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("read the record of station %s: %w", station, err)
	}
	return r, nil
}

// Records lists a station's records in the order in which they began.
func (s *Store) Records(ctx context.Context, station string) ([]Record, error) {
	out, err := collect(ctx, s.db.Read, scanStationRecord, recordSelect+`WHERE station = $1 ORDER BY begun_at, instance_id`, station)
	if err != nil {
		return nil, fmt.Errorf("list the records of station %s: %w", station, err)
	}
	return out, nil
}

// RecordLines reads up to limit lines of a record from one on.
func (s *Store) RecordLines(ctx context.Context, station, instance string, from int64, limit int) ([]string, error) {
	out, err := collect(ctx, s.db.Read, func(r rowScanner) (line string, err error) { return line, r.Scan(&line) },
		`SELECT line FROM record_entries WHERE station = $1 AND instance_id = $2 AND n >= $3 ORDER BY n LIMIT $4`, station, instance, from, limit)
	if err != nil {
		return nil, fmt.Errorf("read the record of station %s: %w", station, err)
	}
	return out, nil
}

// anchored says why a unit must not leave yet: the entry of this very certificate's
// installation is in no record here of the station that bound the unit or has it, so that
// it could still be changed there.
func (t *txn) anchored(ctx context.Context, u Unit, b Binding) error {
	lines, err := collect(ctx, t, func(r rowScanner) (line string, err error) { return line, r.Scan(&line) },
		`SELECT line FROM record_entries WHERE unit_id = $1 AND generation = $2 AND kind = 'installed' AND station IN ($3, $4)`,
		u.ID, u.Generation, b.Station, u.Station)
	if err != nil {
		return fmt.Errorf("look for the record of unit %s: %w", u.ID, err)
	}
	for _, line := range lines {
		entry, err := audit.Decode([]byte(line))
		if err != nil {
			return fmt.Errorf("record of unit %s: %w", u.ID, err)
		}
		if b.Certificate != nil && entry.Hashes["certificate"] == b.Certificate.SHA256 {
			return nil
		}
	}
	return refuse(NotAnchored, "the record of unit %s has not come from its station yet", u.ID)
}
