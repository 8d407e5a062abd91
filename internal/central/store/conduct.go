package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// How a station behaves: what it fails at, and what is done about it.

// failed counts a failure of a station's unit. So many in a row open its breaker,
// so that a bad station does not burn the units of a whole day. Once the pause is
// over a single failure opens it again, and a single success forgets all of them.
func (t *txn) failed(ctx context.Context, station string) error {
	r := t.store.rules
	return t.One(ctx, "count a failure",
		`UPDATE stations SET failures = failures + 1,
			tripped_until = CASE WHEN failures + 1 >= $2 THEN $3 ELSE tripped_until END WHERE name = $1`,
		station, r.BreakerFailures, t.now()+r.BreakerPause.Milliseconds())
}

func (t *txn) succeeded(ctx context.Context, station string) error {
	err := t.Any(ctx, "forget failures", `UPDATE stations SET failures = 0, tripped_until = 0 WHERE name = $1 AND failures > 0`, station)
	return err
}

// ResetStation closes a station's breaker.
func (s *Store) ResetStation(ctx context.Context, name string) (Station, error) {
	return s.changeStation(ctx, name, "reset", `UPDATE stations SET failures = 0, tripped_until = 0 WHERE name = $1`, name)
}

// DrainStation says whether a station gets new units.
func (s *Store) DrainStation(ctx context.Context, name string, drain bool) (Station, error) {
	return s.changeStation(ctx, name, "drain", `UPDATE stations SET drain = $2 WHERE name = $1`, name, flag(drain))
}

func (s *Store) changeStation(ctx context.Context, name, what, query string, args ...any) (Station, error) {
	err := s.write(ctx, what+" station "+name, func(t *txn) error {
		n, err := t.count(ctx, what, query, args...)
		if err == nil && n == 0 {
			return refuse(NotFound, "there is no station %s", name)
		}
		return err
	})
	if err != nil {
		return Station{}, err
	}
	return s.Station(ctx, name)
}

// RevokeStation shuts a station out for good. Its unbound leases end and its bound
// units are STRANDED, for it will not be heard again.
func (s *Store) RevokeStation(ctx context.Context, name string) error {
	return s.write(ctx, "revoke station "+name, func(t *txn) error {
		// Locked first, so that no claim goes on that was let in before; see lockKey.
		if _, err := s.station(ctx, t, name, s.dialect.lock("st")); errors.Is(err, sql.ErrNoRows) {
			return refuse(NotFound, "there is no station %s", name)
		} else if err != nil {
			return fmt.Errorf("read station: %w", err)
		}
		units, err := collect(ctx, t, scanUnit, `SELECT `+unitColumns+` FROM units u
			WHERE u.station = $1 AND u.state IN ($2, $3, $4, $5, $6, $7) ORDER BY u.unit_id `+t.store.dialect.lock("u"),
			name, Leased, Bound, Issuing, IssueUnknown, Issued, Cancelling)
		if err != nil {
			return fmt.Errorf("find the station's units: %w", err)
		}
		for _, u := range units {
			event := EventCustodyExpired
			if u.State == Leased {
				event = EventLeaseExpired
			}
			if u.State == Cancelling && u.ExpiresAt.IsZero() {
				continue
			}
			u, err = t.advance(ctx, u, event, "the station was revoked", func(u *Unit) { u.ExpiresAt = fromMillis(0) })
			if err != nil {
				return err
			}
			if _, err = t.settle(ctx, u); err != nil {
				return err
			}
		}
		return t.One(ctx, "revoke", `UPDATE stations SET revoked_at = COALESCE(revoked_at, $2) WHERE name = $1`, name, t.now())
	})
}

// flag is a truth as both engines keep it.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
