package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// epochLeap is more than any epoch can have grown since a backup was made, so that
// no station's old epoch is ever a unit's again.
const epochLeap = 1_000_000

// BeginRecovery is for a database that was restored to an older state. Sessions and
// leases are over, every epoch is out of the stations' reach, bound units count as
// told to the CA, and claims are refused until FinishRecovery.
func (s *Store) BeginRecovery(ctx context.Context) error {
	return s.write(ctx, "begin recovery", func(t *txn) error {
		units, err := collect(ctx, t, scanUnit, `SELECT `+unitColumns+` FROM units u
			WHERE u.state NOT IN ($1, $2) ORDER BY u.unit_id `+t.store.dialect.lock("u"), Shipped, Cancelled)
		if err != nil {
			return fmt.Errorf("list units: %w", err)
		}
		for _, u := range units {
			if u.State == Bound {
				err := t.exactlyOne(ctx, "write intent", `UPDATE bindings SET request_id = $3, intended_at = $4 WHERE unit_id = $1 AND generation = $2`,
					u.ID, u.Generation, RequestID(u.ID, u.Generation), t.now)
				if err != nil {
					return err
				}
			}
			if _, err := t.advance(ctx, u, EventRecover, "an older state of the server was restored", func(u *Unit) { u.Epoch += epochLeap }); err != nil {
				return err
			}
		}
		for _, query := range []string{`DELETE FROM sessions`, `DELETE FROM claim_keys`} {
			if _, err := t.count(ctx, "forget sessions and claims", query); err != nil {
				return err
			}
		}
		return t.exactlyOne(ctx, "write recovery", `INSERT INTO recoveries (recovery_id, begun_at) VALUES ($1, $2)`, uuid.NewString(), t.now)
	})
}

// Recovering says whether a recovery is not finished.
func (s *Store) Recovering(ctx context.Context) (bool, error) {
	var n int
	if err := s.db.Read.QueryRowContext(ctx, `SELECT COUNT(*) FROM recoveries WHERE finished_at = 0`).Scan(&n); err != nil {
		return false, fmt.Errorf("look for a recovery: %w", err)
	}
	return n > 0, nil
}

// FinishRecovery lets claims be answered again.
func (s *Store) FinishRecovery(ctx context.Context) error {
	return s.write(ctx, "finish recovery", func(t *txn) error {
		_, err := t.count(ctx, "finish", `UPDATE recoveries SET finished_at = $1 WHERE finished_at = 0`, t.now)
		return err
	})
}

// Reconcilable is a unit of which the CA may know more than a restored server.
type Reconcilable struct {
	UnitID string
	// From is the first generation to ask for: the present one when no key is bound to
	// it here, else the next.
	From int32
	// Ready says that the unit would be given to a station.
	Ready bool
}

// Reconcilables lists all units but cancelled ones.
func (s *Store) Reconcilables(ctx context.Context) ([]Reconcilable, error) {
	out, err := collect(ctx, s.db.Read, func(r rowScanner) (Reconcilable, error) {
		var c Reconcilable
		var bound int64
		var state State
		err := r.Scan(&c.UnitID, &c.From, &state, &bound)
		c.Ready = state == Ready
		if bound > 0 {
			c.From++
		}
		return c, err
	}, `SELECT u.unit_id, u.generation, u.state, (SELECT COUNT(*) FROM bindings b WHERE b.unit_id = u.unit_id AND b.generation = u.generation)
		FROM units u WHERE u.state <> $1 ORDER BY u.unit_id`, Cancelled)
	if err != nil {
		return nil, fmt.Errorf("list units to reconcile: %w", err)
	}
	return out, nil
}

// Found holds a unit for which the CA has a certificate of a generation that is not
// known here. The unit goes on from that generation.
func (s *Store) Found(ctx context.Context, unitID string, generation int32, c Certificate) error {
	return s.write(ctx, "keep a certificate found for unit "+unitID, func(t *txn) error {
		u, err := t.unit(ctx, unitID)
		if err != nil {
			return err
		}
		_, err = t.count(ctx, "keep certificate",
			`INSERT INTO surplus_certificates (certificate_sha256, unit_id, generation, certificate_serial, pkcs7, noticed_at)
			 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (certificate_sha256) DO NOTHING`,
			c.SHA256, unitID, generation, c.Serial, c.PKCS7, t.now)
		if err != nil {
			return err
		}
		if u.State == Cancelled {
			return t.wantRevocation(ctx, known{unitID, generation, c.SHA256, c.Serial}, RevokedCancelled)
		}
		u, err = t.advance(ctx, u, EventFound, "certificate "+c.Serial, func(u *Unit) {
			u.Generation = max(u.Generation, generation)
			if u.State == Held {
				u.HeldReason = "the CA has issued certificate " + c.Serial + ", which this restored server does not know"
			}
		})
		if err != nil {
			return err
		}
		_, err = t.settle(ctx, u)
		return err
	})
}

// Doubt holds a READY unit whose CA cannot be asked what it issued.
func (s *Store) Doubt(ctx context.Context, unitID string) error {
	return s.write(ctx, "hold unit "+unitID, func(t *txn) error {
		u, err := t.unit(ctx, unitID)
		if err != nil || u.State != Ready {
			return err
		}
		const why = "this server was restored, and its CA cannot be asked what it issued since"
		_, err = t.advance(ctx, u, EventFound, why, func(u *Unit) { u.HeldReason = why })
		return err
	})
}
