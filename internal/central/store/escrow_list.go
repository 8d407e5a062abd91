package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// EscrowRecord is an SO PIN in escrow, without the envelope.
type EscrowRecord struct {
	Escrow
	CreatedAt time.Time
}

// EscrowFilter chooses escrows; empty fields choose all.
type EscrowFilter struct {
	TokenSerial string
	UnitID      string
	Limit       int
	Offset      int
}

// Escrows lists SO PINs in escrow, newest first, and how many the filter chooses in all.
func (s *Store) Escrows(ctx context.Context, f EscrowFilter) ([]EscrowRecord, int, error) {
	fail := func(err error) ([]EscrowRecord, int, error) { return nil, 0, fmt.Errorf("list escrows: %w", err) }
	const where = `FROM escrows e WHERE ($1 = '' OR e.token_serial = $1) AND ($2 = '' OR e.unit_id = $2) `
	tx, err := s.db.Snapshot(ctx)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = tx.Rollback() }() // it only read
	var total int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) `+where, f.TokenSerial, f.UnitID).Scan(&total); err != nil {
		return fail(err)
	}
	found, err := collect(ctx, tx, scanEscrowRecord,
		`SELECT e.escrow_id, e.unit_id, e.epoch, e.station, e.sealed_sha256, e.recipients, e.token_serial, e.created_at `+where+
			`ORDER BY e.created_at DESC, e.escrow_id LIMIT $3 OFFSET $4`, f.TokenSerial, f.UnitID, f.Limit, f.Offset)
	if err != nil {
		return fail(err)
	}
	return found, total, nil
}

func scanEscrowRecord(row rowScanner) (EscrowRecord, error) {
	var e EscrowRecord
	var recipients string
	var created int64
	if err := row.Scan(&e.ID, &e.UnitID, &e.Epoch, &e.Station, &e.SealedSHA256, &recipients, &e.TokenSerial, &created); err != nil {
		return e, err
	}
	e.CreatedAt = fromMillis(created)
	return e, json.Unmarshal([]byte(recipients), &e.Recipients)
}

// SealedSOPIN is the envelope of an escrow.
func (s *Store) SealedSOPIN(ctx context.Context, escrowID string) ([]byte, error) {
	var sealed []byte
	err := s.db.Read.QueryRowContext(ctx, `SELECT e.sealed FROM escrows e WHERE e.escrow_id = $1`, escrowID).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, refuse(NotFound, "there is no escrow %s", escrowID)
	}
	if err != nil {
		return nil, fmt.Errorf("read escrow %s: %w", escrowID, err)
	}
	return sealed, nil
}
