package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Adoption is a station's proof, checked by the caller, that it has the bound key
// of a unit.
type Adoption struct {
	Station   string
	SessionID string
	// KeySHA256 is the station's public key by which the caller was known.
	KeySHA256   string
	UnitID      string
	Generation  int32
	Epoch       int64
	TokenSerial string
	// PublicKeySHA256 is the digest of the key that made the proof, StatementSHA256
	// that of what it signed.
	PublicKeySHA256 string
	StatementSHA256 string
}

// Adopt gives a bound unit to the station that has its key, under a new epoch: one
// that is STRANDED, or that its station has lost the epoch of. The key, and so the
// binding and the escrow of its token, may have moved to another station. The same
// statement again, while the unit is where it put it, gives the same lease. A station that
// is revoked, or has another key now, is NotYours.
func (s *Store) Adopt(ctx context.Context, a Adoption) (l Lease, err error) {
	err = s.write(ctx, "adopt unit "+a.UnitID, func(t *txn) error {
		touch, caller := t.askTouch(ctx, a.Station, a.SessionID, ""), t.askCaller(ctx, a.Station, a.KeySHA256, s.dialect.lockKey("st"))
		unit, binding := t.askUnit(ctx, a.UnitID), t.askBinding(ctx, a.UnitID, a.Generation)
		if _, err := touch(); err != nil {
			return err
		}
		if _, err := caller(); err != nil {
			return err
		}
		u, err := unit()
		if err != nil {
			return err
		}
		b, bound, err := binding()
		if err != nil {
			return err
		}
		if err := adoptable(u, b, bound, a); err != nil {
			return err
		}
		again, err := t.adoptedBefore(ctx, u, a)
		if err != nil {
			return err
		}
		switch {
		case again:
			u.ExpiresAt = fromMillis(t.now()).Add(s.rules.Custody)
			err = t.save(ctx, &u)
		case u.Epoch != a.Epoch:
			err = &Refusal{Reason: StaleEpoch, CurrentEpoch: u.Epoch, Detail: fmt.Sprintf("unit %s is at epoch %d; sign again with that one", u.ID, u.Epoch)}
		default:
			u, err = t.adopt(ctx, u, b, a)
		}
		if err != nil {
			return err
		}
		o, err := t.orderOf(ctx, u)
		if err != nil {
			return err
		}
		l = Lease{Unit: u, Order: o, Left: s.rules.Custody}
		return nil
	})
	return l, err
}

func adoptable(u Unit, b Binding, bound bool, a Adoption) error {
	switch {
	case !bound || u.Generation != a.Generation:
		return refuse(WrongState, "generation %d of unit %s is not one with a bound key; the unit is at generation %d", a.Generation, u.ID, u.Generation)
	case b.PublicKeySHA256 != a.PublicKeySHA256:
		return refuse(ProofInvalid, "unit %s has another key bound", u.ID)
	case b.TokenSerial != a.TokenSerial:
		return refuse(ProofInvalid, "the key of unit %s is on another token", u.ID)
	case u.State.Over():
		return refuse(UnitCancelled, "unit %s is %s", u.ID, u.State)
	case !u.State.InCustody() && u.State != Stranded:
		return refuse(WrongState, "unit %s is %s", u.ID, u.State)
	}
	return nil
}

func (t *txn) adoptedBefore(ctx context.Context, u Unit, a Adoption) (bool, error) {
	if u.Epoch != a.Epoch+1 || u.Station != a.Station || !u.State.InCustody() {
		return false, nil
	}
	var statement string
	err := t.QueryRowContext(ctx, `SELECT statement_sha256 FROM adoptions WHERE unit_id = $1 AND epoch = $2`, u.ID, u.Epoch).Scan(&statement)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read adoption: %w", err)
	}
	return statement == a.StatementSHA256, nil
}

func (t *txn) adopt(ctx context.Context, u Unit, b Binding, a Adoption) (Unit, error) {
	why := "by proof of its key"
	if b.Station != a.Station {
		why += ", from station " + b.Station
	}
	u, err := t.advance(ctx, u, EventAdopt, why, func(u *Unit) {
		u.Epoch++
		u.Station = a.Station
		u.ExpiresAt = fromMillis(t.now()).Add(t.store.rules.Custody)
	})
	if err != nil {
		return Unit{}, err
	}
	for _, change := range []struct {
		what, query string
		args        []any
	}{
		{"write adoption", `INSERT INTO adoptions (unit_id, epoch, station, statement_sha256, adopted_at) VALUES ($1, $2, $3, $4, $5)`,
			[]any{u.ID, u.Epoch, a.Station, a.StatementSHA256, t.now()}},
		{"move binding", `UPDATE bindings SET station = $3 WHERE unit_id = $1 AND generation = $2`, []any{u.ID, a.Generation, a.Station}},
		{"move escrow", `UPDATE escrows SET station = $2, epoch = $3 WHERE escrow_id = $1`, []any{b.EscrowID, a.Station, u.Epoch}},
	} {
		if err := t.One(ctx, change.what, change.query, change.args...); err != nil {
			return Unit{}, err
		}
	}
	return u, nil
}
