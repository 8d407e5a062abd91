package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
)

// ErrNotOlder says that nothing tells of a restored store.
var ErrNotOlder = errors.New("the store is not older than it was")

const (
	// epochLeap is more than any epoch can have grown since a backup was made.
	epochLeap = 1_000_000
	// markLeap is more than the mark can have grown since then.
	markLeap = 1 << 40
)

// BeginRecovery is for a store that was restored to an older state. Sessions and
// unbound leases are over, no order has a home, every epoch is out of the stations' reach, nothing that was
// known of outstanding certificates counts, and nothing is given out before
// FinishRecovery. One that was begun before goes on. known is the last mark that is
// kept beside the store; unless force is set, a store that has it is ErrNotOlder.
func (s *Store) BeginRecovery(ctx context.Context, known int64, force bool) error {
	return s.write(ctx, "begin recovery", func(t *txn) error {
		a, err := s.age(ctx, t)
		if err != nil || a.Recovering {
			return err
		}
		if a.Mark >= known && !force {
			return ErrNotOlder
		}
		var highest int64
		if err := t.QueryRowContext(ctx, `SELECT COALESCE(MAX(epoch), 0) FROM units`).Scan(&highest); err != nil {
			return fmt.Errorf("find the highest epoch: %w", err)
		}
		floor := max(highest, a.EpochFloor) + epochLeap
		if max(a.Mark, known) > math.MaxInt64-markLeap {
			return fmt.Errorf("the store's mark %d is beyond belief", max(a.Mark, known))
		}
		for _, change := range []struct {
			query string
			args  []any
		}{
			{`UPDATE store_age SET recovering = 1, mark = $1, epoch_floor = $2 WHERE one = 1`, []any{max(a.Mark, known) + markLeap, floor}},
			{`DELETE FROM sessions`, nil},
			// A home without a session is never absent: the station may not come back.
			{`UPDATE orders SET home_station = NULL`, nil},
			{`DELETE FROM claim_keys`, nil},
			// What was proved or promised may have been overtaken since.
			{`DELETE FROM waits`, nil},
			{`DELETE FROM absences`, nil},
			{`UPDATE bindings SET intended_by = '', intended_until = 0`, nil},
			// Who reads events has perhaps seen higher numbers.
			{`UPDATE event_counter SET last = last + $1`, []any{epochLeap}},
		} {
			if _, err := t.count(ctx, "begin recovery", change.query, change.args...); err != nil {
				return err
			}
		}
		return t.raiseEpochs(ctx, floor)
	})
}

func (t *txn) raiseEpochs(ctx context.Context, floor int64) error {
	units, err := collect(ctx, t, scanUnit, `SELECT `+unitColumns+` FROM units u
		WHERE u.state <> $1 ORDER BY u.unit_id `+t.store.dialect.lock("u"), Cancelled)
	if err != nil {
		return fmt.Errorf("list units: %w", err)
	}
	for _, u := range units {
		if u.at() == Bound {
			// The CA may have been asked since.
			err := t.One(ctx, "write intent", `UPDATE bindings SET request_id = $3, intended_at = COALESCE(intended_at, $4) WHERE unit_id = $1 AND generation = $2`,
				u.ID, u.Generation, RequestID(u.ID, u.Generation), t.now())
			if err != nil {
				return err
			}
		}
		_, err := t.advance(ctx, u, EventRecover, "an older state of the server was restored", func(u *Unit) {
			u.Epoch = floor
			if !u.ExpiresAt.IsZero() {
				u.ExpiresAt = fromMillis(t.now()).Add(t.store.rules.Custody)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// FinishRecovery lets units be given out again, and gives the mark to keep.
func (s *Store) FinishRecovery(ctx context.Context) (mark int64, err error) {
	err = s.write(ctx, "finish recovery", func(t *txn) error {
		return t.QueryRowContext(ctx, `UPDATE store_age SET recovering = 0, mark = mark + 1 WHERE one = 1 RETURNING mark`).Scan(&mark)
	})
	return mark, err
}

// Recoverable is a unit of which the CA may know more than the restored store.
type Recoverable struct {
	UnitID     string
	Generation int32
	// Bound says that a key is bound to this generation.
	Bound bool
	// Over says that it is cancelled, so that there is nothing to recover.
	Over bool
}

// Recoverables lists all units.
func (s *Store) Recoverables(ctx context.Context) ([]Recoverable, error) {
	out, err := collect(ctx, s.db.Read, func(r rowScanner) (Recoverable, error) {
		var c Recoverable
		var bound int
		var state State
		err := r.Scan(&c.UnitID, &c.Generation, &state, &bound)
		c.Bound, c.Over = bound > 0, state == Cancelled
		return c, err
	}, `SELECT u.unit_id, u.generation, u.state, (SELECT COUNT(*) FROM bindings b WHERE b.unit_id = u.unit_id AND b.generation = u.generation)
		FROM units u ORDER BY u.unit_id`)
	if err != nil {
		return nil, fmt.Errorf("list units to recover: %w", err)
	}
	return out, nil
}

// FoundAs says what a certificate is that the CA has.
type FoundAs int

// What Found finds.
const (
	FoundKnown FoundAs = iota // nothing is new
	FoundBound                // its key is bound here
	FoundLost                 // its key is not known here
)

// Found keeps a certificate that the CA has. Where its key is bound, it is the
// unit's. Else the unit is HELD, its next generation is new to the CA too, and persons have
// the certificate revoked.
func (s *Store) Found(ctx context.Context, unitID string, generation int32, c Certificate) (as FoundAs, err error) {
	err = s.write(ctx, "recover unit "+unitID, func(t *txn) error {
		as = FoundKnown
		u, err := t.unit(ctx, unitID)
		if err != nil {
			return err
		}
		b, bound, err := binding(ctx, t, unitID, generation)
		if err != nil {
			return err
		}
		if bound && b.RequestID != "" && (b.Certificate != nil || b.PublicKeySHA256 == c.PublicKeySHA256) {
			if b.Certificate == nil {
				as = FoundBound
			}
			_, _, err = t.issued(ctx, u, t.askBinding(ctx, u.ID, generation), generation, c)
			return err
		}
		n, err := t.count(ctx, "keep certificate",
			`INSERT INTO surplus_certificates (certificate_sha256, unit_id, generation, certificate_serial, pkcs7, noticed_at)
			 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (certificate_sha256) DO NOTHING`,
			c.SHA256, unitID, generation, c.Serial, c.PKCS7, t.now())
		if err != nil || n == 0 {
			return err
		}
		as = FoundLost
		why := fmt.Sprintf("the CA issued certificate %s for generation %d, whose key was lost when the server was restored", c.Serial, generation)
		if u, err = t.holdFound(ctx, u, generation, why); err != nil {
			return err
		}
		_, err = t.settle(ctx, u)
		return err
	})
	return as, err
}

// Doubt holds a unit for which the CA may have issued something that nobody can know
// of here.
func (s *Store) Doubt(ctx context.Context, unitID string, generation int32, why string) error {
	return s.write(ctx, "recover unit "+unitID, func(t *txn) error {
		u, err := t.unit(ctx, unitID)
		if err != nil || strings.Contains(u.HeldReason, why) {
			return err
		}
		_, err = t.holdFound(ctx, u, generation, why)
		return err
	})
}

// holdFound holds a unit at the generation at which something came to light, or at its own while
// the CA may still issue for that: nobody asks about one that a unit has left.
func (t *txn) holdFound(ctx context.Context, u Unit, generation int32, why string) (Unit, error) {
	was := u.State
	unknown, err := t.unresolved(ctx, u)
	if err != nil {
		return Unit{}, err
	}
	return t.advance(ctx, u, EventFound, why, func(u *Unit) {
		if !unknown {
			u.Generation = max(u.Generation, generation)
		}
		switch {
		case u.State == Held && was == Held:
			u.HeldReason += "; " + why
		case u.State == Held:
			u.HeldReason = why
		}
	})
}
