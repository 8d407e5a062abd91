package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Order is an approved order. Content is its document as accepted.
type Order struct {
	ID          string
	ProductCode string
	Company     string
	Quantity    int
	DueAt       time.Time
	HomeStation string
	Content     []byte
	AcceptedAt  time.Time
	Revision    int
	// FixedSHA256 is over what a revision may not change once a unit was leased.
	FixedSHA256 string
	// Numbered is the highest sequence that a unit of it ever got.
	Numbered int
	// Hold says that it gives no new leases, Urgent that it goes before others.
	Hold, Urgent bool
	CancelledAt  time.Time
	// Blocked says why no connected station can make it; empty when one can.
	Blocked string
	// ClearedAt is since when its personal data are gone.
	ClearedAt time.Time
}

const orderColumns = `o.order_id, o.product_code, o.company, o.quantity, o.due_at, COALESCE(o.home_station, ''), o.content, o.accepted_at,
	o.revision, o.fixed_sha256, o.numbered, o.on_hold, o.urgent, o.cancelled_at, o.blocked, o.cleared_at`

// orderTimes are columns that are not kept as Go has them.
type orderTimes struct{ due, accepted, hold, urgent, cancelled, cleared int64 }

func (o *Order) targets(t *orderTimes) []any {
	return []any{&o.ID, &o.ProductCode, &o.Company, &o.Quantity, &t.due, &o.HomeStation, &o.Content, &t.accepted,
		&o.Revision, &o.FixedSHA256, &o.Numbered, &t.hold, &t.urgent, &t.cancelled, &o.Blocked, &t.cleared}
}

func (o *Order) take(t orderTimes) {
	o.DueAt, o.AcceptedAt, o.CancelledAt, o.ClearedAt = fromMillis(t.due), fromMillis(t.accepted), fromMillis(t.cancelled), fromMillis(t.cleared)
	o.Hold, o.Urgent = t.hold != 0, t.urgent != 0
}

func scanOrder(r rowScanner) (Order, error) {
	var o Order
	var times orderTimes
	if err := r.Scan(o.targets(&times)...); err != nil {
		return Order{}, err
	}
	o.take(times)
	return o, nil
}

// UnitID is the id of a unit: the order's id and three digits.
func UnitID(orderID string, sequence int) string { return fmt.Sprintf("%s-%03d", orderID, sequence) }

// Order reads one order.
func (s *Store) Order(ctx context.Context, id string) (Order, error) {
	o, err := scanOrder(s.db.Read.QueryRowContext(ctx, `SELECT `+orderColumns+` FROM orders o WHERE o.order_id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Order{}, refuse(NotFound, "there is no order %s", id)
	}
	if err != nil {
		return Order{}, fmt.Errorf("read order %s: %w", id, err)
	}
	return o, nil
}

// orderOf reads the order that a unit belongs to.
func (t *txn) orderOf(ctx context.Context, u Unit) (Order, error) { return t.askOrder(ctx, u.ID)() }

// askOrder is orderOf, asked now and read later.
func (t *txn) askOrder(ctx context.Context, unitID string) func() (Order, error) {
	asked := t.Ask(ctx, `SELECT `+orderColumns+` FROM orders o WHERE o.order_id = (SELECT u.order_id FROM units u WHERE u.unit_id = $1)`, unitID)
	return func() (Order, error) {
		o, err := scanOrder(asked)
		if err != nil {
			return Order{}, fmt.Errorf("read the order of unit %s: %w", unitID, err)
		}
		return o, nil
	}
}

// OrderSummary is an order with how many of its units are in each state.
type OrderSummary struct {
	Order
	States map[State]int
}

// Orders lists orders, earliest due first, and how many there are.
func (s *Store) Orders(ctx context.Context, limit, offset int) ([]OrderSummary, int, error) {
	fail := func(err error) ([]OrderSummary, int, error) { return nil, 0, fmt.Errorf("list orders: %w", err) }
	tx, err := s.db.Snapshot(ctx)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = tx.Rollback() }() // it only read
	var total int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM orders`).Scan(&total); err != nil {
		return fail(err)
	}
	orders, err := collect(ctx, tx, scanOrder, `SELECT `+orderColumns+` FROM orders o ORDER BY o.due_at, o.order_id LIMIT $1 OFFSET $2`, limit, offset)
	if err != nil {
		return fail(err)
	}
	type count struct {
		order string
		state State
		n     int
	}
	scanCount := func(r rowScanner) (count, error) {
		var c count
		err := r.Scan(&c.order, &c.state, &c.n)
		return c, err
	}
	counts, err := collect(ctx, tx, scanCount,
		`SELECT u.order_id, u.state, COUNT(*) FROM units u WHERE u.order_id IN
			(SELECT o.order_id FROM orders o ORDER BY o.due_at, o.order_id LIMIT $1 OFFSET $2)
		 GROUP BY u.order_id, u.state`, limit, offset)
	if err != nil {
		return fail(err)
	}
	states := make(map[string]map[State]int)
	for _, c := range counts {
		if states[c.order] == nil {
			states[c.order] = make(map[State]int)
		}
		states[c.order][c.state] = c.n
	}
	out := make([]OrderSummary, len(orders))
	for i, o := range orders {
		out[i] = OrderSummary{Order: o, States: states[o.ID]}
	}
	return out, total, nil
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
