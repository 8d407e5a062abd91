package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Claim asks for units.
type Claim struct {
	Station   string
	SessionID string
	// KeySHA256 is the station's public key by which the caller was known: a claim may
	// wait, and the station be revoked or get another key meanwhile.
	KeySHA256 string
	// Key is the Idempotency-Key, RequestSHA256 the digest of the request that came with it.
	Key           string
	RequestSHA256 string
	Max           int
	Products      []string
}

// Lease is a unit given to a station.
type Lease struct {
	Unit  Unit
	Order Order
	// Left is how long the lease holds from now; zero when it is lost already, as
	// may be when a claim is repeated.
	Left time.Duration
}

// claimed is what is remembered of a lease under its Idempotency-Key.
type claimed struct {
	UnitID string `json:"unitId"`
	Epoch  int64  `json:"epoch"`
}

const (
	// claimTries is how often a claim is tried that found nothing but orders that others
	// had their hands on, claimPause the longest pause before: a few commits.
	claimTries = 6
	claimPause = 20 * time.Millisecond
)

// Claim leases up to Max units and remembers them under the key, in one
// transaction; a repeat of the key gives the same units. An empty answer is not
// remembered. A station that is revoked, or has another key now, is NotYours.
func (s *Store) Claim(ctx context.Context, c Claim) ([]Lease, error) {
	for try := 1; ; try++ {
		leases, missed, err := s.claim(ctx, c)
		if err != nil || !missed || try == claimTries {
			return leases, err
		}
		// Who had an order in hand did not take all of it, perhaps.
		select {
		case <-time.After(rand.N(claimPause)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if more, err := s.Claimable(ctx, c); err != nil || !more {
			return nil, err
		}
	}
}

// claim is one try. It says missed when there were orders, and all in others' hands.
func (s *Store) claim(ctx context.Context, c Claim) (leases []Lease, missed bool, err error) {
	// Kept so that it can be told which orders nobody can make.
	products, err := json.Marshal(c.Products)
	if err != nil {
		return nil, false, fmt.Errorf("claim: %w", err)
	}
	err = s.write(ctx, "claim for station "+c.Station, func(t *txn) error {
		missed = false
		present, touch := t.askPresent(ctx), t.askTouch(ctx, c.Station, c.SessionID, string(products))
		caller := t.askCaller(ctx, c.Station, c.KeySHA256, s.dialect.lockKey("st"))
		if err := present(); err != nil {
			return err
		}
		length, err := touch()
		if err != nil {
			return err
		}
		if _, err := caller(); err != nil {
			return err
		}
		key, sweep, orders := t.Ask(ctx, selectClaimKey, s.claimKeyArgs(c, t.now())...), t.askSweep(ctx), t.askCandidates(ctx, c)
		known, err := scanClaimKey(key, c)
		if err != nil {
			return err
		}
		if known != nil {
			leases, err = t.replay(ctx, c.Station, known, length)
			return err
		}
		ready, err := sweep()
		if err != nil {
			return err
		}
		if ready > 0 {
			orders = t.askCandidates(ctx, c)
		}
		leases, missed, err = t.lease(ctx, c, orders, length)
		if err != nil || len(leases) == 0 {
			return err
		}
		return t.rememberClaim(ctx, c, leases)
	})
	if err != nil {
		return nil, false, err
	}
	return leases, missed, nil
}

const selectClaimKey = `SELECT request_sha256, leases FROM claim_keys WHERE station = $1 AND claim_key = $2 AND created_at >= $3`

func (s *Store) claimKeyArgs(c Claim, now int64) []any {
	return []any{c.Station, c.Key, now - s.rules.ClaimKeyTTL.Milliseconds()}
}

// scanClaimKey is what the key was answered with before; nil if it was not.
func scanClaimKey(r rowScanner, c Claim) ([]claimed, error) {
	var sum, leases string
	err := r.Scan(&sum, &leases)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up idempotency key: %w", err)
	}
	if sum != c.RequestSHA256 {
		return nil, refuse(ClaimKeyReused, "this Idempotency-Key came before with another request")
	}
	var known []claimed
	if err := json.Unmarshal([]byte(leases), &known); err != nil {
		return nil, fmt.Errorf("read remembered claim: %w", err)
	}
	return known, nil
}

func (t *txn) rememberClaim(ctx context.Context, c Claim, leases []Lease) error {
	var list []claimed
	for _, l := range leases {
		list = append(list, claimed{l.Unit.ID, l.Unit.Epoch})
	}
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("remember claim: %w", err)
	}
	return t.One(ctx, "remember claim",
		`INSERT INTO claim_keys (station, claim_key, request_sha256, leases, created_at) VALUES ($1, $2, $3, $4, $5)
		 ON CONFLICT (station, claim_key) DO UPDATE SET request_sha256 = excluded.request_sha256,
			leases = excluded.leases, created_at = excluded.created_at`,
		c.Station, c.Key, c.RequestSHA256, string(text), t.now())
}

// ForgetClaims forgets what was remembered of claims for as long as it counts.
func (s *Store) ForgetClaims(ctx context.Context) error {
	now, err := s.now(ctx, s.db.Read)
	if err != nil {
		return err
	}
	before := now - s.rules.ClaimKeyTTL.Milliseconds()
	var old int
	if err := s.db.Read.QueryRowContext(ctx, `SELECT COUNT(*) FROM claim_keys WHERE created_at < $1`, before).Scan(&old); err != nil {
		return fmt.Errorf("look for old claims: %w", err)
	}
	if old == 0 {
		return nil
	}
	return s.write(ctx, "forget old claims", func(t *txn) error {
		return t.Any(ctx, "forget old claims", `DELETE FROM claim_keys WHERE created_at < $1`, before)
	})
}

// replay gives the units of a remembered claim again. The station counts a lease
// from when it sent the request, so one that is still held is renewed and one
// that is lost has nothing left.
func (t *txn) replay(ctx context.Context, station string, known []claimed, length time.Duration) ([]Lease, error) {
	leases := make([]Lease, 0, len(known))
	for _, k := range known {
		u, err := t.unit(ctx, k.UnitID)
		if err != nil {
			return nil, err
		}
		o, err := t.orderOf(ctx, u)
		if err != nil {
			return nil, err
		}
		l := Lease{Unit: u, Order: o}
		if l.Left, err = t.renew(ctx, &l.Unit, station, k.Epoch, "", length); err != nil {
			return nil, err
		}
		l.Unit.Epoch = k.Epoch
		leases = append(leases, l)
	}
	return leases, nil
}

// lease gives the station what it may have of the orders, and of what it finds after them.
// It says missed when that was nothing although there were orders.
func (t *txn) lease(ctx context.Context, c Claim, orders func() ([]string, error), length time.Duration) (leases []Lease, missed bool, err error) {
	for {
		before := len(leases)
		found, err := orders()
		if err != nil {
			return nil, false, err
		}
		if leases, err = t.takeAll(ctx, c, found, leases, length); err != nil {
			return nil, false, err
		}
		if len(leases) == before || len(leases) >= c.Max {
			return leases, len(found) > 0 && len(leases) == 0, t.closeTaken(ctx, leases)
		}
		orders = t.askCandidates(ctx, c)
	}
}

// takeAll adds what there is in these orders to the leases, up to c.Max.
func (t *txn) takeAll(ctx context.Context, c Claim, orders []string, leases []Lease, length time.Duration) ([]Lease, error) {
	for _, id := range orders {
		if len(leases) == c.Max {
			break
		}
		taken, err := t.take(ctx, c, id, c.Max-len(leases))
		if err != nil {
			return nil, err
		}
		for _, l := range taken {
			if l, err = t.give(ctx, c, l, length); err != nil {
				return nil, err
			}
			leases = append(leases, l)
		}
	}
	return leases, nil
}

// give leases a unit that is locked.
func (t *txn) give(ctx context.Context, c Claim, l Lease, length time.Duration) (Lease, error) {
	if l.Order.HomeStation != c.Station {
		err := t.One(ctx, "give order a home", `UPDATE orders SET home_station = $2 WHERE order_id = $1`, l.Order.ID, c.Station)
		if err != nil {
			return Lease{}, err
		}
		l.Order.HomeStation = c.Station
	}
	var err error
	l.Unit, err = t.advance(ctx, l.Unit, EventClaim, "", func(u *Unit) {
		u.Epoch++
		u.Station = c.Station
		u.ExpiresAt = fromMillis(t.now()).Add(length)
	})
	l.Left = length
	return l, err
}

// closeTaken notes which of the orders, all of them locked, have no READY unit left.
func (t *txn) closeTaken(ctx context.Context, leases []Lease) error {
	for i, l := range leases {
		if i > 0 && leases[i-1].Order.ID == l.Order.ID {
			continue
		}
		err := t.Any(ctx, "close order "+l.Order.ID, `UPDATE orders SET open = 0 WHERE order_id = $1
			AND NOT EXISTS (SELECT 1 FROM units u WHERE u.order_id = $1 AND u.state = $2)`, l.Order.ID, Ready)
		if err != nil {
			return err
		}
	}
	return nil
}

// foreign looks once more at the home of an order, now that it is locked: its station
// may have come to life after the search for candidates began.
func (t *txn) foreign(ctx context.Context, c Claim, o Order) (bool, error) {
	if o.HomeStation == "" || o.HomeStation == c.Station {
		return false, nil
	}
	var n int
	err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM orders o WHERE o.order_id = $1 AND o.home_station <> $2 AND EXISTS (`+livingHome+`)`,
		o.ID, c.Station, t.now()-t.store.rules.HomeGrace.Milliseconds(), t.now()).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for the home of order %s: %w", o.ID, err)
	}
	return n > 0, nil
}

// held renews every unbound lease of a station, and gives them in the order in
// which they should be written.
func (t *txn) held(ctx context.Context, station string, length time.Duration) ([]Lease, error) {
	if _, err := t.sweep(ctx); err != nil {
		return nil, err
	}
	leases, err := collect(ctx, t, scanCandidate, `SELECT `+unitColumns+`, `+orderColumns+`
		FROM units u JOIN orders o ON o.order_id = u.order_id WHERE u.state = $1 AND u.station = $2
		ORDER BY `+orderRank+`, u.sequence `+t.store.dialect.lock("u"), Leased, station)
	if err != nil {
		return nil, fmt.Errorf("find leases: %w", err)
	}
	for i := range leases {
		l := &leases[i]
		if l.Left, err = t.renew(ctx, &l.Unit, station, l.Unit.Epoch, "", length); err != nil {
			return nil, err
		}
	}
	return leases, nil
}
