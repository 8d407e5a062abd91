package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// EventKind is what other systems are told.
type EventKind string

// Kinds of outgoing events.
const (
	KindIssued    EventKind = "issued"
	KindInstalled EventKind = "installed"
	KindShipped   EventKind = "shipped"
	KindHeld      EventKind = "held"
	KindCancelled EventKind = "cancelled"
	KindBlocked   EventKind = "blocked"
)

// OutgoingEvent is told to the CA's other systems: ids, serials and states only.
type OutgoingEvent struct {
	Sequence          int64
	ID                string
	Kind              EventKind
	OrderID           string
	UnitID            string
	Generation        int32
	State             State
	Station           string
	TokenSerial       string
	CertificateSerial string
	At                time.Time
	unitVersion       int64
}

// kindOf says what of a change others are told; empty for nothing.
func kindOf(from, to State, e Event) EventKind {
	if e == EventIssued {
		return KindIssued
	}
	if e == EventFound && to == Held {
		return KindHeld
	}
	if from == to {
		return ""
	}
	switch to {
	case Installed:
		return KindInstalled
	case Shipped:
		return KindShipped
	case Held:
		return KindHeld
	case Cancelled:
		return KindCancelled
	}
	return ""
}

// serials are what an event says of the token and certificate of a unit.
type serials struct{ token, certificate string }

func (t *txn) serials(ctx context.Context, u Unit) (*serials, error) {
	var s serials
	err := t.QueryRowContext(ctx, `SELECT token_serial, certificate_serial FROM bindings WHERE unit_id = $1 AND generation = $2`,
		u.ID, u.Generation).Scan(&s.token, &s.certificate)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("write event of unit %s: %w", u.ID, err)
	}
	return &s, nil
}

// publish tells others of a change, in the transaction that makes it.
func (t *txn) publish(ctx context.Context, kind EventKind, u Unit, s *serials) error {
	return t.writeEvent(ctx, OutgoingEvent{
		Kind: kind, OrderID: u.OrderID, UnitID: u.ID, Generation: u.Generation, State: u.State, Station: u.Station,
		TokenSerial: s.token, CertificateSerial: s.certificate, At: u.UpdatedAt, unitVersion: u.version,
	})
}

func (t *txn) tell(ctx context.Context, kind EventKind, u Unit) error {
	s, err := t.serials(ctx, u)
	if err != nil {
		return err
	}
	return t.publish(ctx, kind, u, s)
}

func (t *txn) writeEvent(ctx context.Context, e OutgoingEvent) error {
	return t.One(ctx, "write event",
		`INSERT INTO outgoing_events (event_id, kind, order_id, unit_id, unit_version, generation, state, station, token_serial, certificate_serial, happened_at)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		uuid.NewString(), e.Kind, e.OrderID, e.UnitID, e.unitVersion, e.Generation, e.State, e.Station, e.TokenSerial, e.CertificateSerial, millis(e.At))
}

const eventColumns = `e.event_id, COALESCE(e.sequence, 0), e.kind, e.order_id, e.unit_id, e.generation, e.state, e.station,
	e.token_serial, e.certificate_serial, e.happened_at`

func scanEvent(r rowScanner) (OutgoingEvent, error) {
	var e OutgoingEvent
	var at int64
	err := r.Scan(&e.ID, &e.Sequence, &e.Kind, &e.OrderID, &e.UnitID, &e.Generation, &e.State, &e.Station,
		&e.TokenSerial, &e.CertificateSerial, &at)
	e.At = fromMillis(at)
	return e, err
}

// Events lists what happened after a sequence, in its order and without a gap.
func (s *Store) Events(ctx context.Context, after int64, limit int) ([]OutgoingEvent, error) {
	if err := s.numberEvents(ctx); err != nil {
		return nil, err
	}
	out, err := collect(ctx, s.db.Read, scanEvent, `SELECT `+eventColumns+` FROM outgoing_events e
		WHERE e.sequence > $1 ORDER BY e.sequence LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return out, nil
}

// numberBatch bounds one transaction that numbers events.
const numberBatch = 500

// numberEvents gives a sequence to what was committed without one. Numbers are
// given after the commit and under the lock of one row: a number taken inside the
// transaction that writes an event could become visible after a higher one, and
// who had read the higher one would never see it.
func (s *Store) numberEvents(ctx context.Context) error {
	for {
		var waiting int
		if err := s.db.Read.QueryRowContext(ctx, `SELECT COUNT(*) FROM outgoing_events WHERE sequence IS NULL`).Scan(&waiting); err != nil {
			return fmt.Errorf("look for new events: %w", err)
		}
		if waiting == 0 {
			return nil
		}
		if err := s.write(ctx, "number events", func(t *txn) error { return t.numberEvents(ctx) }); err != nil {
			return err
		}
	}
}

func (t *txn) numberEvents(ctx context.Context) error {
	var last int64
	// An update that changes nothing, for the lock on the row.
	if err := t.QueryRowContext(ctx, `UPDATE event_counter SET last = last WHERE one = 1 RETURNING last`).Scan(&last); err != nil {
		return fmt.Errorf("lock the counter: %w", err)
	}
	ids, err := collect(ctx, t, func(r rowScanner) (id string, err error) { return id, r.Scan(&id) },
		`SELECT event_id FROM outgoing_events WHERE sequence IS NULL ORDER BY happened_at, unit_id, unit_version, event_id LIMIT $1`, numberBatch)
	if err != nil {
		return fmt.Errorf("find new events: %w", err)
	}
	for _, id := range ids {
		last++
		if err := t.One(ctx, "number event", `UPDATE outgoing_events SET sequence = $2 WHERE event_id = $1 AND sequence IS NULL`, id, last); err != nil {
			return err
		}
	}
	return t.One(ctx, "count events", `UPDATE event_counter SET last = $1 WHERE one = 1`, last)
}
