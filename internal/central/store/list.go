package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// UnitRecord is everything that is known of a unit, for people.
type UnitRecord struct {
	Unit
	Of                  int
	Company             string
	ProductCode         string
	TokenSerial         string
	TokenLabel          string
	TokenModel          string
	KeyID               string
	EscrowID            string
	Subject             string
	CertificateSerial   string
	CertificateSHA256   string
	CertificateNotAfter time.Time
	Seconds             *float64
	Waybill             string
	ShippedAt           time.Time
	// RevokedAt is since when its certificate is known to be revoked.
	RevokedAt time.Time
	// Surplus are the SHA-256 of second certificates that are not revoked.
	Surplus []string
	// PendingReason is what the CA last said about a certificate that it has not
	// decided; PendingUntil is when it is asked again.
	PendingReason string
	PendingUntil  time.Time
}

const recordTables = `FROM units u JOIN orders o ON o.order_id = u.order_id
	LEFT JOIN bindings b ON b.unit_id = u.unit_id AND b.generation = u.generation
	LEFT JOIN results r ON r.unit_id = u.unit_id AND r.generation = u.generation
	LEFT JOIN shipments sh ON sh.unit_id = u.unit_id AND sh.generation = u.generation
	LEFT JOIN revocations rv ON rv.certificate_sha256 = b.certificate_sha256
	LEFT JOIN waits w ON w.unit_id = u.unit_id AND w.generation = u.generation AND u.state IN ('ISSUING', 'STRANDED', 'HELD', 'CANCELLING') AND b.certificate_sha256 = '' `

const recordColumns = unitColumns + `, o.numbered, o.company, o.product_code,
	COALESCE(b.token_serial, ''), COALESCE(b.token_model, ''), COALESCE(b.key_id, ''), COALESCE(b.escrow_id, ''), COALESCE(b.subject, ''),
	COALESCE(b.certificate_serial, ''), COALESCE(b.certificate_sha256, ''), COALESCE(b.not_after, 0), COALESCE(r.token_label, ''), r.seconds,
	COALESCE(sh.waybill, ''), COALESCE(sh.shipped_at, 0), COALESCE(rv.revoked_at, 0), COALESCE(w.why, ''), COALESCE(w.again_at, 0) `

func scanRecord(row rowScanner) (UnitRecord, error) {
	var u UnitRecord
	var expires, updated, notAfter, shipped, revoked, again int64
	err := row.Scan(append(u.targets(&expires, &updated), &u.Of, &u.Company, &u.ProductCode,
		&u.TokenSerial, &u.TokenModel, &u.KeyID, &u.EscrowID, &u.Subject,
		&u.CertificateSerial, &u.CertificateSHA256, &notAfter, &u.TokenLabel, &u.Seconds, &u.Waybill, &shipped, &revoked,
		&u.PendingReason, &again)...)
	u.ShippedAt, u.RevokedAt, u.PendingUntil = fromMillis(shipped), fromMillis(revoked), fromMillis(again)
	u.ExpiresAt, u.UpdatedAt, u.CertificateNotAfter = fromMillis(expires), fromMillis(updated), fromMillis(notAfter)
	return u, err
}

// Unit reads all about one unit.
func (s *Store) Unit(ctx context.Context, id string) (UnitRecord, error) {
	u, err := scanRecord(s.db.Read.QueryRowContext(ctx, `SELECT `+recordColumns+recordTables+`WHERE u.unit_id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return UnitRecord{}, refuse(NotFound, "there is no unit %s", id)
	}
	if err != nil {
		return UnitRecord{}, fmt.Errorf("read unit %s: %w", id, err)
	}
	records := []UnitRecord{u}
	err = addSurplus(ctx, s.db.Read, id, records)
	return records[0], err
}

// addSurplus fills in second certificates: there are hardly ever any.
func addSurplus(ctx context.Context, q queryer, unitID string, records []UnitRecord) error {
	found, err := unrevokedSurplus(ctx, q, unitID)
	if err != nil {
		return err
	}
	for _, c := range found {
		for i := range records {
			if records[i].ID == c.UnitID {
				records[i].Surplus = append(records[i].Surplus, c.SHA256)
			}
		}
	}
	return nil
}

// UnitFilter chooses units; empty fields choose all.
type UnitFilter struct {
	OrderID string
	State   State
	Limit   int
	Offset  int
}

// Units lists units by order and sequence, and how many the filter chooses in all.
func (s *Store) Units(ctx context.Context, f UnitFilter) ([]UnitRecord, int, error) {
	fail := func(err error) ([]UnitRecord, int, error) { return nil, 0, fmt.Errorf("list units: %w", err) }
	const where = `WHERE ($1 = '' OR u.order_id = $1) AND ($2 = '' OR u.state = $2) `
	tx, err := s.db.Snapshot(ctx)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = tx.Rollback() }() // it only read
	var total int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM units u `+where, f.OrderID, f.State).Scan(&total); err != nil {
		return fail(err)
	}
	units, err := collect(ctx, tx, scanRecord, `SELECT `+recordColumns+recordTables+where+
		`ORDER BY u.order_id, u.sequence LIMIT $3 OFFSET $4`, f.OrderID, f.State, f.Limit, f.Offset)
	if err != nil {
		return fail(err)
	}
	if err := addSurplus(ctx, tx, "", units); err != nil {
		return fail(err)
	}
	return units, total, nil
}
