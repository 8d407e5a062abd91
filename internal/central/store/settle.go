package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// What a unit waits for that is being cancelled or given up.
const (
	waitsForCA      = "the CA must say what it issued"
	waitsForRevoke  = "its certificate must be revoked"
	waitsForStation = "its station must wipe the token and say so"
)

// settle goes on with a unit that is on its way out of this generation: CANCELLING
// to CANCELLED, HELD with an approved reissue to READY. It is called after
// everything that a unit may have waited for.
func (t *txn) settle(ctx context.Context, u Unit) (Unit, error) {
	switch u.State {
	case Cancelling:
		waits, err := t.waitsFor(ctx, u, RevokedCancelled)
		if err != nil || waits != "" {
			return u, err
		}
		return t.advance(ctx, u, EventCancelled, "nothing is left of it", nil)
	case Held:
		d, ok, err := t.approvedReissue(ctx, u)
		if err != nil || !ok {
			return u, err
		}
		waits, err := t.waitsFor(ctx, u, RevokedReissued)
		if err != nil || waits != "" {
			return u, err
		}
		last, err := t.lastGeneration(ctx, u)
		if err != nil {
			return Unit{}, err
		}
		if err := t.setDecision(ctx, d.ID, DecisionDone); err != nil {
			return Unit{}, err
		}
		why := fmt.Sprintf("asked for by %s, approved by %s", d.RequestedBy, d.ApprovedBy)
		return t.advance(ctx, u, EventReissue, why, func(u *Unit) {
			u.Generation = last + 1
			u.Attempts, u.HeldReason = 0, ""
		})
	}
	return u, nil
}

// lastGeneration is the highest one of a unit that anything is known of: after a recovery that
// may be one that the restored store had not come to.
func (t *txn) lastGeneration(ctx context.Context, u Unit) (last int32, err error) {
	err = t.QueryRowContext(ctx, `SELECT MAX(g.generation) FROM (
			SELECT CAST($2 AS BIGINT) AS generation
			UNION ALL SELECT generation FROM surplus_certificates WHERE unit_id = $1
			UNION ALL SELECT generation FROM late_results WHERE unit_id = $1) g`, u.ID, u.Generation).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("look for later generations of unit %s: %w", u.ID, err)
	}
	return last, nil
}

// waitsFor says what stands between a unit and the end of its generation, empty
// for nothing. It asks for the revocation of every certificate on the way.
func (t *txn) waitsFor(ctx context.Context, u Unit, reason string) (string, error) {
	unknown, err := t.unresolved(ctx, u)
	if err != nil {
		return "", err
	}
	certificates, err := t.unrevoked(ctx, u.ID)
	if err != nil {
		return "", err
	}
	for _, c := range certificates {
		if err := t.wantRevocation(ctx, c, reason); err != nil {
			return "", err
		}
	}
	switch {
	case unknown:
		return waitsForCA, nil
	case len(certificates) > 0:
		return waitsForRevoke, nil
	case u.State == Cancelling && !u.ExpiresAt.IsZero():
		return waitsForStation, nil
	}
	return "", nil
}

// unresolved says whether the CA may have issued for this generation without our
// knowing: it was or may have been asked, no answer came, absence is not proved.
func (t *txn) unresolved(ctx context.Context, u Unit) (bool, error) {
	var n int
	err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM bindings b WHERE b.unit_id = $1 AND b.generation = $2 AND `+unresolvedBinding,
		u.ID, u.Generation).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look what the CA knows of unit %s: %w", u.ID, err)
	}
	return n > 0, nil
}

const unresolvedBinding = `b.request_id IS NOT NULL AND b.certificate_sha256 = ''
	AND NOT EXISTS (SELECT 1 FROM absences a WHERE a.unit_id = b.unit_id AND a.generation = b.generation)`

// known is a certificate of a unit.
type known struct {
	UnitID     string
	Generation int32
	SHA256     string
	Serial     string
}

// unrevoked lists the certificates of all generations of a unit that are not known
// to be revoked.
func (t *txn) unrevoked(ctx context.Context, unitID string) ([]known, error) {
	out, err := collect(ctx, t, func(r rowScanner) (known, error) {
		c := known{UnitID: unitID}
		return c, r.Scan(&c.Generation, &c.SHA256, &c.Serial)
	}, `SELECT c.generation, c.certificate_sha256, c.certificate_serial FROM (
			SELECT generation, certificate_sha256, certificate_serial FROM bindings WHERE unit_id = $1 AND certificate_sha256 <> ''
			UNION SELECT generation, certificate_sha256, certificate_serial FROM surplus_certificates WHERE unit_id = $1) c
		WHERE NOT EXISTS (SELECT 1 FROM revocations r WHERE r.certificate_sha256 = c.certificate_sha256 AND r.revoked_at <> 0)
		ORDER BY c.generation, c.certificate_sha256`, unitID)
	if err != nil {
		return nil, fmt.Errorf("list certificates of unit %s: %w", unitID, err)
	}
	return out, nil
}

// unrevokedSurplus lists second certificates of a unit that are not known to be revoked.
func unrevokedSurplus(ctx context.Context, q queryer, unitID string) ([]known, error) {
	out, err := collect(ctx, q, func(r rowScanner) (known, error) {
		var c known
		return c, r.Scan(&c.UnitID, &c.Generation, &c.SHA256, &c.Serial)
	}, `SELECT c.unit_id, c.generation, c.certificate_sha256, c.certificate_serial FROM surplus_certificates c
		WHERE ($1 = '' OR c.unit_id = $1)
			AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.certificate_sha256 = c.certificate_sha256 AND r.revoked_at <> 0)
		ORDER BY c.unit_id, c.generation, c.certificate_sha256`, unitID)
	if err != nil {
		return nil, fmt.Errorf("list second certificates: %w", err)
	}
	return out, nil
}

// Why a certificate is to be revoked.
const (
	RevokedCancelled = "cancelled"
	RevokedReissued  = "reissued"
	RevokedTwice     = "issued twice"
	revokedLate      = "issued after all"
	revokedFound     = "found revoked"
)

func (t *txn) wantRevocation(ctx context.Context, c known, reason string) error {
	_, err := t.count(ctx, "ask for revocation",
		`INSERT INTO revocations (certificate_sha256, unit_id, generation, certificate_serial, reason, asked_at)
		 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (certificate_sha256) DO NOTHING`,
		c.SHA256, c.UnitID, c.Generation, c.Serial, reason, t.now())
	return err
}

// Revocation is a certificate that the CA is to revoke.
type Revocation struct {
	UnitID     string
	Generation int32
	SHA256     string
	Serial     string
	// PKCS7 is what the CA answered when it issued. Where it was removed with the
	// personal data, Issuer is the DER of the issuer's name.
	PKCS7  []byte
	Issuer []byte
	Reason string
}

// Revocations lists what is to be revoked and not known to be, oldest first.
func (s *Store) Revocations(ctx context.Context) ([]Revocation, error) {
	out, err := collect(ctx, s.db.Read, func(row rowScanner) (Revocation, error) {
		var r Revocation
		return r, row.Scan(&r.UnitID, &r.Generation, &r.SHA256, &r.Serial, &r.Reason, &r.PKCS7, &r.Issuer)
	}, `SELECT r.unit_id, r.generation, r.certificate_sha256, r.certificate_serial, r.reason, COALESCE(s.pkcs7, b.pkcs7), i.issuer
		FROM revocations r
			LEFT JOIN surplus_certificates s ON s.certificate_sha256 = r.certificate_sha256
			LEFT JOIN bindings b ON b.unit_id = r.unit_id AND b.certificate_sha256 = r.certificate_sha256
			LEFT JOIN issuers i ON i.certificate_sha256 = r.certificate_sha256
		WHERE r.revoked_at = 0 ORDER BY r.asked_at, r.certificate_sha256`)
	if err != nil {
		return nil, fmt.Errorf("list what is to be revoked: %w", err)
	}
	return out, nil
}

// Revoked writes down that a certificate is revoked, and lets its unit go on. The same again
// changes nothing: several servers may have it revoked.
func (s *Store) Revoked(ctx context.Context, unitID, sha256 string) (u Unit, err error) {
	err = s.write(ctx, "note a revocation for unit "+unitID, func(t *txn) error {
		if u, err = t.unit(ctx, unitID); err != nil {
			return err
		}
		u, err = t.revoked(ctx, u, sha256, "the CA")
		return err
	})
	return u, err
}

func (t *txn) revoked(ctx context.Context, u Unit, sha256, by string) (Unit, error) {
	var serial string
	err := t.QueryRowContext(ctx, `UPDATE revocations SET revoked_at = $3, revoked_by = $4
		WHERE certificate_sha256 = $1 AND unit_id = $2 AND revoked_at = 0 RETURNING certificate_serial`, sha256, u.ID, t.now(), by).Scan(&serial)
	if errors.Is(err, sql.ErrNoRows) {
		return u, t.wasRevoked(ctx, u, sha256)
	}
	if err != nil {
		return Unit{}, fmt.Errorf("note revocation: %w", err)
	}
	_, err = t.count(ctx, "end decision", `UPDATE decisions SET status = $3
		WHERE unit_id = $1 AND certificate_sha256 = $2 AND action = $4 AND status = $5`, u.ID, sha256, DecisionDone, ActionSurplus, DecisionApproved)
	if err != nil {
		return Unit{}, err
	}
	if u.State != Held && u.State != Cancelling {
		return u, nil
	}
	if u, err = t.advance(ctx, u, EventRevoked, "certificate "+serial+", by "+by, nil); err != nil {
		return Unit{}, err
	}
	return t.settle(ctx, u)
}

// wasRevoked is an error unless the certificate is known to be revoked: another server has
// told of the same revocation.
func (t *txn) wasRevoked(ctx context.Context, u Unit, sha256 string) error {
	var n int
	err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM revocations WHERE certificate_sha256 = $1 AND unit_id = $2`, sha256, u.ID).Scan(&n)
	if err == nil && n == 0 {
		err = fmt.Errorf("nobody wants certificate %s revoked", sha256)
	}
	if err != nil {
		return fmt.Errorf("note revocation: %w", err)
	}
	return nil
}
