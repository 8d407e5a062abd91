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
}

const orderColumns = `o.order_id, o.product_code, o.company, o.quantity, o.due_at, COALESCE(o.home_station, ''), o.content, o.accepted_at`

func (o *Order) targets(due, accepted *int64) []any {
	return []any{&o.ID, &o.ProductCode, &o.Company, &o.Quantity, due, &o.HomeStation, &o.Content, accepted}
}

func scanOrder(r rowScanner) (Order, error) {
	var o Order
	var due, accepted int64
	if err := r.Scan(o.targets(&due, &accepted)...); err != nil {
		return Order{}, err
	}
	o.DueAt, o.AcceptedAt = fromMillis(due), fromMillis(accepted)
	return o, nil
}

// UnitID is the id of a unit: the order's id and three digits.
func UnitID(orderID string, sequence int) string { return fmt.Sprintf("%s-%03d", orderID, sequence) }

// PutOrder accepts an order and makes its units. The same content again changes
// nothing (created is false); other content under the id is OrderConflict.
func (s *Store) PutOrder(ctx context.Context, o Order) (created bool, err error) {
	err = s.write(ctx, "accept order "+o.ID, func(t *txn) error {
		created = false
		sum := hexSum(o.Content)
		n, err := t.count(ctx, "insert order",
			`INSERT INTO orders (order_id, product_code, company, quantity, due_at, content, content_sha256, accepted_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (order_id) DO NOTHING`,
			o.ID, o.ProductCode, o.Company, o.Quantity, millis(o.DueAt), o.Content, sum, t.now)
		if err != nil {
			return err
		}
		if n == 0 {
			var known string
			if err := t.QueryRowContext(ctx, `SELECT content_sha256 FROM orders WHERE order_id = $1`, o.ID).Scan(&known); err != nil {
				return fmt.Errorf("read order: %w", err)
			}
			if known != sum {
				return refuse(OrderConflict, "order %s was accepted before with other content; a changed order needs another id", o.ID)
			}
			return nil
		}
		created = true
		for i := 1; i <= o.Quantity; i++ {
			err := t.exactlyOne(ctx, "insert unit",
				`INSERT INTO units (unit_id, order_id, sequence, state, updated_at) VALUES ($1, $2, $3, $4, $5)`,
				UnitID(o.ID, i), o.ID, i, Ready, t.now)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return created, err
}

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

// OrderOfUnit reads the order that a unit belongs to.
func (s *Store) OrderOfUnit(ctx context.Context, unitID string) (Order, error) {
	o, err := scanOrder(s.db.Read.QueryRowContext(ctx,
		`SELECT `+orderColumns+` FROM orders o JOIN units u ON u.order_id = o.order_id WHERE u.unit_id = $1`, unitID))
	if errors.Is(err, sql.ErrNoRows) {
		return Order{}, refuse(NotFound, "there is no unit %s", unitID)
	}
	if err != nil {
		return Order{}, fmt.Errorf("read order of unit %s: %w", unitID, err)
	}
	return o, nil
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
