package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Unit is one key of an order.
type Unit struct {
	ID           string
	OrderID      string
	Sequence     int
	State        State
	StrandedFrom State
	HeldReason   string
	Epoch        int64
	Generation   int32
	Attempts     int
	// Station holds or bound it; empty while READY.
	Station string
	// ExpiresAt ends the lease (LEASED) or custody (BOUND to ISSUED); zero elsewhere.
	ExpiresAt time.Time
	Phase     string
	UpdatedAt time.Time
	version   int64
	// told is what the next event says of it, where that is known without a look.
	told *serials
}

const unitColumns = `u.unit_id, u.order_id, u.sequence, u.state, u.stranded_from, u.held_reason, u.epoch, u.generation,
	u.attempts, COALESCE(u.station, ''), u.expires_at, u.phase, u.updated_at, u.version`

func (u *Unit) targets(expires, updated *int64) []any {
	return []any{&u.ID, &u.OrderID, &u.Sequence, &u.State, &u.StrandedFrom, &u.HeldReason, &u.Epoch, &u.Generation,
		&u.Attempts, &u.Station, expires, &u.Phase, updated, &u.version}
}

func scanUnit(r rowScanner) (Unit, error) {
	var u Unit
	var expires, updated int64
	if err := r.Scan(u.targets(&expires, &updated)...); err != nil {
		return Unit{}, err
	}
	u.ExpiresAt, u.UpdatedAt = fromMillis(expires), fromMillis(updated)
	return u, nil
}

// unit reads and locks one unit. A lease or custody that has run out by now is
// ended first, so that no caller can act on one that merely was not swept yet.
func (t *txn) unit(ctx context.Context, id string) (Unit, error) { return t.askUnit(ctx, id)() }

// askUnit is unit, asked now and read later: what is asked between goes with it.
func (t *txn) askUnit(ctx context.Context, id string) func() (Unit, error) {
	asked := t.Ask(ctx, `SELECT `+unitColumns+` FROM units u WHERE u.unit_id = $1 `+t.store.dialect.lock("u"), id)
	return func() (Unit, error) {
		u, err := scanUnit(asked)
		if errors.Is(err, sql.ErrNoRows) {
			return Unit{}, refuse(NotFound, "there is no unit %s", id)
		}
		if err != nil {
			return Unit{}, fmt.Errorf("read unit %s: %w", id, err)
		}
		return t.expire(ctx, u)
	}
}

// expire ends a lease or custody whose time is over.
func (t *txn) expire(ctx context.Context, u Unit) (Unit, error) {
	if u.ExpiresAt.IsZero() || millis(u.ExpiresAt) > t.now() {
		return u, nil
	}
	switch {
	case u.State == Leased:
		return t.advance(ctx, u, EventLeaseExpired, "the lease ran out", nil)
	case u.State.InCustody():
		return t.advance(ctx, u, EventCustodyExpired, "the station was not heard of for the time of custody", nil)
	case u.State == Cancelling:
		u, err := t.advance(ctx, u, EventCustodyExpired, "the station was not heard of for the time of custody", func(u *Unit) { u.ExpiresAt = time.Time{} })
		if err != nil {
			return Unit{}, err
		}
		return t.settle(ctx, u)
	}
	return u, nil
}

// advance moves a unit along the transition table and appends to its history. set
// changes what else changes with it. Nothing else writes a unit's state.
func (t *txn) advance(ctx context.Context, u Unit, e Event, why string, set func(*Unit)) (Unit, error) {
	from, station := u.State, u.Station
	to, err := next(from, e)
	if err != nil {
		return Unit{}, fmt.Errorf("unit %s: %w", u.ID, err)
	}
	if to == stateBefore {
		to = u.StrandedFrom
	}
	if to == Stranded {
		sub := from
		if from == Stranded {
			if sub, err = next(u.StrandedFrom, e); err != nil {
				return Unit{}, fmt.Errorf("unit %s, stranded: %w", u.ID, err)
			}
		}
		u.StrandedFrom = sub
	} else {
		u.StrandedFrom = ""
	}
	// A clock that is set back must not turn the order of a unit's events round.
	at := max(t.now(), millis(u.UpdatedAt))
	u.State, u.UpdatedAt = to, fromMillis(at)
	switch to {
	case Ready:
		u.Station, u.ExpiresAt, u.Phase = "", time.Time{}, ""
	case Installed, Shipped, Held, Stranded, Cancelled:
		u.ExpiresAt, u.Phase = time.Time{}, ""
	}
	if set != nil {
		set(&u)
	}
	if u.Station != "" {
		station = u.Station
	}
	// Read first: what is only written goes to the database together.
	kind := kindOf(from, to, e)
	told := u.told
	u.told = nil
	if kind != "" && told == nil {
		if told, err = t.serials(ctx, u); err != nil {
			return Unit{}, err
		}
	}
	if err := t.save(ctx, &u); err != nil {
		return Unit{}, err
	}
	if to == Ready {
		// Locked after its unit, against the rule: claims have the order first, but they
		// pass over a unit that is locked and do not wait for it.
		if err := t.One(ctx, "open order "+u.OrderID, `UPDATE orders SET open = 1 WHERE order_id = $1`, u.OrderID); err != nil {
			return Unit{}, err
		}
	}
	err = t.One(ctx, "write history of unit "+u.ID,
		`INSERT INTO history (unit_id, version, epoch, generation, from_state, to_state, event, station, why, happened_at)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		u.ID, u.version, u.Epoch, u.Generation, from, to, e, station, why, at)
	if err != nil || kind == "" {
		return u, err
	}
	return u, t.publish(ctx, kind, u, told)
}

// save writes what may change of a unit, if nobody else did meanwhile.
func (t *txn) save(ctx context.Context, u *Unit) error {
	err := t.One(ctx, "write unit "+u.ID,
		`UPDATE units SET state = $3, stranded_from = $4, held_reason = $5, epoch = $6, generation = $7, attempts = $8,
			station = NULLIF($9, ''), expires_at = $10, phase = $11, updated_at = $12, version = $2 + 1
		 WHERE unit_id = $1 AND version = $2`,
		u.ID, u.version, u.State, u.StrandedFrom, u.HeldReason, u.Epoch, u.Generation, u.Attempts,
		u.Station, expiry(u.ExpiresAt), u.Phase, millis(u.UpdatedAt))
	u.version++
	return err
}

func expiry(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return millis(t)
}

// held checks that the unit is at this station under this epoch, and wanted.
func (u Unit) held(station string, epoch int64) error {
	switch {
	case u.State.Over() && u.Station == station:
		return refuse(UnitCancelled, "unit %s is %s", u.ID, u.State)
	case u.Epoch != epoch, u.Station == "":
		return &Refusal{Reason: StaleEpoch, CurrentEpoch: u.Epoch,
			Detail: fmt.Sprintf("unit %s is %s at epoch %d; epoch %d no longer holds it", u.ID, u.State, u.Epoch, epoch)}
	case u.Station != station:
		return refuse(NotYours, "unit %s is at another station", u.ID)
	}
	return nil
}

// HistoryEntry is one change of a unit.
type HistoryEntry struct {
	UnitID     string
	Epoch      int64
	Generation int32
	From, To   State
	Event      Event
	Station    string
	Why        string
	At         time.Time
}

// History lists what happened to a unit, oldest first.
func (s *Store) History(ctx context.Context, unitID string) ([]HistoryEntry, error) {
	out, err := collect(ctx, s.db.Read, func(r rowScanner) (HistoryEntry, error) {
		var h HistoryEntry
		var at int64
		err := r.Scan(&h.UnitID, &h.Epoch, &h.Generation, &h.From, &h.To, &h.Event, &h.Station, &h.Why, &at)
		h.At = fromMillis(at)
		return h, err
	}, `SELECT unit_id, epoch, generation, from_state, to_state, event, station, why, happened_at
		FROM history WHERE unit_id = $1 ORDER BY version`, unitID)
	if err != nil {
		return nil, fmt.Errorf("read history of unit %s: %w", unitID, err)
	}
	return out, nil
}

// Sweep ends every lease and custody that has run out. It says how many units became READY.
func (s *Store) Sweep(ctx context.Context) (ready int, err error) {
	err = s.write(ctx, "sweep", func(t *txn) error {
		ready, err = t.sweep(ctx)
		return err
	})
	return ready, err
}

// sweep leaves out what another transaction has its hand on: that one ends or renews
// it, and to wait for it could be waiting in a circle.
func (t *txn) sweep(ctx context.Context) (ready int, err error) { return t.askSweep(ctx)() }

// askSweep is sweep, asked now and done later.
func (t *txn) askSweep(ctx context.Context) func() (ready int, err error) {
	asked := t.Ask(ctx, `SELECT `+unitColumns+` FROM units u
		WHERE u.state IN ($1, $2, $3, $4, $5, $6) AND u.expires_at <= $7 AND u.expires_at > 0 `+t.store.dialect.lockFree("u"),
		Leased, Bound, Issuing, IssueUnknown, Issued, Cancelling, t.now())
	return func() (ready int, err error) {
		rows, err := asked.Rows()
		expired, err := scanAll(scanUnit, rows, err)
		if err != nil {
			return 0, fmt.Errorf("find expired units: %w", err)
		}
		for _, u := range expired {
			if u, err = t.expire(ctx, u); err != nil {
				return 0, err
			}
			if u.State == Ready {
				ready++
			}
		}
		return ready, nil
	}
}

// Expired says whether Sweep would find something, without a write.
func (s *Store) Expired(ctx context.Context) (bool, error) {
	now, err := s.now(ctx, s.db.Read)
	if err != nil {
		return false, err
	}
	var n int
	err = s.db.Read.QueryRowContext(ctx, `SELECT COUNT(*) FROM units u
		WHERE u.state IN ($1, $2, $3, $4, $5, $6) AND u.expires_at <= $7 AND u.expires_at > 0`,
		Leased, Bound, Issuing, IssueUnknown, Issued, Cancelling, now).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for expired units: %w", err)
	}
	return n > 0, nil
}
