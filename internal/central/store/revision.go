package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Revised is what PutOrder did.
type Revised struct {
	// Created says that the order is new, Changed that it is or that a revision was taken.
	Created, Changed bool
	// Dropped are units that are CANCELLED because the quantity fell.
	Dropped []string
}

// PutOrder accepts an order and makes its units, or takes a revision of it. The
// same revision with the same content changes nothing. A higher one may change
// everything until a unit was leased; after that only what FixedSHA256 leaves out,
// and the quantity may fall. Anything else is OrderConflict.
func (s *Store) PutOrder(ctx context.Context, o Order) (out Revised, err error) {
	o.Revision = max(o.Revision, 1)
	err = s.write(ctx, "accept order "+o.ID, func(t *txn) error {
		out = Revised{}
		n, err := t.count(ctx, "insert order",
			`INSERT INTO orders (order_id, product_code, company, quantity, due_at, content, content_sha256, accepted_at, revision, fixed_sha256, numbered)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $4) ON CONFLICT (order_id) DO NOTHING`,
			o.ID, o.ProductCode, o.Company, o.Quantity, millis(o.DueAt), o.Content, hexSum(o.Content), t.now(), o.Revision, o.FixedSHA256)
		if err != nil {
			return err
		}
		if n == 0 {
			return t.revise(ctx, o, &out)
		}
		out.Created, out.Changed = true, true
		return t.makeUnits(ctx, o.ID, 1, o.Quantity)
	})
	return out, err
}

func (t *txn) makeUnits(ctx context.Context, orderID string, from, to int) error {
	for i := from; i <= to; i++ {
		err := t.One(ctx, "insert unit",
			// Stations may know the unit from before a recovery, under lower epochs.
			`INSERT INTO units (unit_id, order_id, sequence, state, updated_at, epoch)
			 VALUES ($1, $2, $3, $4, $5, (SELECT a.epoch_floor FROM store_age a))`,
			UnitID(orderID, i), orderID, i, Ready, t.now())
		if err != nil {
			return err
		}
	}
	return nil
}

// maxSequence is the highest that a unit's id can hold.
const maxSequence = 999

func (t *txn) revise(ctx context.Context, o Order, out *Revised) error {
	known, err := t.order(ctx, o.ID)
	if err != nil {
		return err
	}
	var sum string
	if err := t.QueryRowContext(ctx, `SELECT content_sha256 FROM orders WHERE order_id = $1`, o.ID).Scan(&sum); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	switch {
	case o.Revision == known.Revision && sum == hexSum(o.Content):
		return nil
	case o.Revision == known.Revision:
		return refuse(OrderConflict, "revision %d of order %s was accepted before with other content; a changed order needs a higher revision", o.Revision, o.ID)
	case o.Revision < known.Revision:
		return refuse(OrderConflict, "order %s is at revision %d already", o.ID, known.Revision)
	case !known.CancelledAt.IsZero() || !known.ClearedAt.IsZero():
		return refuse(OrderConflict, "order %s is over; a new order needs another id", o.ID)
	}
	units, err := t.unitsOf(ctx, o.ID)
	if err != nil {
		return err
	}
	living := 0
	for _, u := range units {
		if !u.State.Over() {
			living++
		}
	}
	leased, err := t.leased(ctx, o.ID)
	if err != nil {
		return err
	}
	if leased && o.FixedSHA256 != known.FixedSHA256 {
		return refuse(OrderConflict, "a unit of order %s was leased already, so only its quantity, due time and approval may change", o.ID)
	}
	numbered := known.Numbered
	if more := o.Quantity - living; more > 0 {
		if leased && o.Quantity > known.Quantity {
			return refuse(OrderConflict, "a unit of order %s was leased already, so it cannot have more; order them under another id", o.ID)
		}
		if !leased {
			numbered += more
		}
	}
	if numbered > maxSequence {
		return refuse(OrderConflict, "order %s has had too many units for one id", o.ID)
	}
	if err := t.makeUnits(ctx, o.ID, known.Numbered+1, numbered); err != nil {
		return err
	}
	if out.Dropped, err = t.drop(ctx, units, living-o.Quantity, o.Revision); err != nil {
		return err
	}
	out.Changed = true
	return t.One(ctx, "revise order",
		`UPDATE orders SET product_code = $2, company = $3, quantity = $4, due_at = $5, content = $6, content_sha256 = $7,
			revision = $8, fixed_sha256 = $9, numbered = $10 WHERE order_id = $1`,
		o.ID, o.ProductCode, o.Company, o.Quantity, millis(o.DueAt), o.Content, hexSum(o.Content), o.Revision, o.FixedSHA256, numbered)
}

// leased says whether a unit of an order was ever leased. Its epoch does not tell: after a
// recovery units have one that nobody got.
func (t *txn) leased(ctx context.Context, orderID string) (bool, error) {
	var n int
	err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM units u WHERE u.order_id = $1
		AND EXISTS (SELECT 1 FROM history h WHERE h.unit_id = u.unit_id AND h.event = $2)`, orderID, EventClaim).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for leases of order %s: %w", orderID, err)
	}
	return n > 0, nil
}

// drop cancels READY units from the highest sequence down; what a station has stays.
func (t *txn) drop(ctx context.Context, units []Unit, many, revision int) ([]string, error) {
	var dropped []string
	for i := len(units) - 1; i >= 0 && len(dropped) < many; i-- {
		if units[i].State != Ready {
			continue
		}
		if _, err := t.advance(ctx, units[i], EventCancel, fmt.Sprintf("revision %d has fewer units", revision), nil); err != nil {
			return nil, err
		}
		dropped = append(dropped, units[i].ID)
	}
	return dropped, nil
}

// order reads and locks one order.
func (t *txn) order(ctx context.Context, id string) (Order, error) {
	o, err := scanOrder(t.QueryRowContext(ctx, `SELECT `+orderColumns+` FROM orders o WHERE o.order_id = $1 `+t.store.dialect.lock("o"), id))
	if errors.Is(err, sql.ErrNoRows) {
		return Order{}, refuse(NotFound, "there is no order %s", id)
	}
	if err != nil {
		return Order{}, fmt.Errorf("read order %s: %w", id, err)
	}
	return o, nil
}

// FlagOrder holds an order or lets it go, and says whether it is urgent.
func (s *Store) FlagOrder(ctx context.Context, id string, hold, urgent bool) error {
	return s.write(ctx, "flag order "+id, func(t *txn) error {
		n, err := t.count(ctx, "flag", `UPDATE orders SET on_hold = $2, urgent = $3 WHERE order_id = $1`, id, flag(hold), flag(urgent))
		if err == nil && n == 0 {
			return refuse(NotFound, "there is no order %s", id)
		}
		return err
	})
}
