package store

import (
	"context"
	"fmt"
	"slices"
)

// Cancellation is a person's wish that an order, or some of its units, be no more.
type Cancellation struct {
	OrderID string
	// Units are all that are meant; without any it is the whole order.
	Units    []string
	Operator string
	Reason   string
}

// CancelledUnit is what became of a unit that was to be cancelled.
type CancelledUnit struct {
	Unit Unit
	// WaitsFor says what a CANCELLING unit waits for, or why a unit is not cancelled.
	WaitsFor string
}

// Cancel cancels at any moment, in one transaction, so that a race with issuing has
// one winner: either the intent to issue is refused afterwards, or it is known here
// and its certificate will be revoked. The same again changes nothing.
func (s *Store) Cancel(ctx context.Context, c Cancellation) (out []CancelledUnit, err error) {
	err = s.write(ctx, "cancel order "+c.OrderID, func(t *txn) error {
		out = nil
		if _, err := t.order(ctx, c.OrderID); err != nil {
			return err
		}
		all, err := t.unitsOf(ctx, c.OrderID)
		if err != nil {
			return err
		}
		for _, id := range c.Units {
			if !slices.ContainsFunc(all, func(u Unit) bool { return u.ID == id }) {
				return refuse(NotFound, "order %s has no unit %s", c.OrderID, id)
			}
		}
		if len(c.Units) == 0 {
			_, err := t.count(ctx, "cancel order", `UPDATE orders SET cancelled_at = $2 WHERE order_id = $1 AND cancelled_at = 0`, c.OrderID, t.now())
			if err != nil {
				return err
			}
		}
		for _, u := range all {
			if len(c.Units) > 0 && !slices.Contains(c.Units, u.ID) {
				continue
			}
			one, err := t.cancel(ctx, u, fmt.Sprintf("by %s: %s", c.Operator, c.Reason))
			if err != nil {
				return err
			}
			out = append(out, one)
		}
		return nil
	})
	return out, err
}

func (t *txn) cancel(ctx context.Context, u Unit, why string) (CancelledUnit, error) {
	fail := func(err error) (CancelledUnit, error) { return CancelledUnit{}, err }
	u, err := t.expire(ctx, u)
	if err != nil {
		return fail(err)
	}
	switch {
	case u.State == Shipped:
		return CancelledUnit{Unit: u, WaitsFor: "it is with the courier; it must come back first"}, nil
	case u.State.Over():
	default:
		if err := t.voidDecisions(ctx, u, ActionReissue); err != nil {
			return fail(err)
		}
		if u, err = t.advance(ctx, u, EventCancel, why, nil); err != nil {
			return fail(err)
		}
	}
	if u, err = t.settle(ctx, u); err != nil || u.State != Cancelling {
		return CancelledUnit{Unit: u}, err
	}
	waits, err := t.waitsFor(ctx, u, RevokedCancelled)
	return CancelledUnit{Unit: u, WaitsFor: waits}, err
}

// unitsOf reads and locks all units of an order by sequence.
func (t *txn) unitsOf(ctx context.Context, orderID string) ([]Unit, error) {
	out, err := collect(ctx, t, scanUnit, `SELECT `+unitColumns+` FROM units u WHERE u.order_id = $1 ORDER BY u.sequence `+t.store.dialect.lock("u"), orderID)
	if err != nil {
		return nil, fmt.Errorf("read the units of order %s: %w", orderID, err)
	}
	return out, nil
}
