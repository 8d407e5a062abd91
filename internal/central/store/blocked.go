package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Why an order is blocked.
const blockedNobody = "no station is connected that gets units"

// waiting is an order that has units to give away, or was blocked.
type waiting struct {
	orderID, product, blocked string
	ready                     int64
}

// FindBlocked compares the orders that wait with what the connected stations make,
// and tells of those that no station can make before their due time does. It says
// how many changed.
func (s *Store) FindBlocked(ctx context.Context) (int, error) {
	now, err := s.now(ctx, s.db.Read)
	if err != nil {
		return 0, err
	}
	orders, err := collect(ctx, s.db.Read, func(r rowScanner) (waiting, error) {
		var w waiting
		return w, r.Scan(&w.orderID, &w.product, &w.blocked, &w.ready)
	}, `SELECT w.order_id, w.product_code, w.blocked, w.ready FROM (
			SELECT o.order_id, o.product_code, o.blocked,
				(SELECT COUNT(*) FROM units u WHERE u.order_id = o.order_id AND u.state = $1 AND o.on_hold = 0 AND o.cancelled_at = 0) AS ready
			FROM orders o WHERE o.accepted_at <= $2 AND (o.blocked <> '' OR o.order_id IN (SELECT u.order_id FROM units u WHERE u.state = $1))) w
		WHERE w.ready > 0 OR w.blocked <> '' ORDER BY w.order_id`, Ready, now-s.rules.BlockedAfter.Milliseconds())
	if err != nil {
		return 0, fmt.Errorf("look for waiting orders: %w", err)
	}
	if len(orders) == 0 {
		return 0, nil
	}
	made, anybody, err := s.made(ctx, now)
	if err != nil {
		return 0, err
	}
	changed := 0
	for _, w := range orders {
		why := ""
		switch {
		case w.ready == 0 || anybody && (made == nil || slices.Contains(made, w.product)):
		case !anybody:
			why = blockedNobody
		default:
			why = "no connected station makes product " + w.product
		}
		if why == w.blocked {
			continue
		}
		if err := s.setBlocked(ctx, w.orderID, why); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

// made lists what the connected stations make; nil, with anybody, while one of them
// has not said it yet.
func (s *Store) made(ctx context.Context, now int64) (products []string, anybody bool, err error) {
	lists, err := collect(ctx, s.db.Read, func(r rowScanner) (text string, err error) { return text, r.Scan(&text) },
		`SELECT se.products FROM sessions se JOIN stations st ON st.name = se.station
		 WHERE se.seen_at >= $1 AND st.revoked_at IS NULL AND st.drain = 0 AND st.tripped_until <= $2`,
		now-s.rules.SessionTTL.Milliseconds(), now)
	if err != nil {
		return nil, false, fmt.Errorf("look at sessions: %w", err)
	}
	products = []string{}
	for _, text := range lists {
		if text == "" {
			return nil, true, nil
		}
		var list []string
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, false, fmt.Errorf("read the products of a session: %w", err)
		}
		products = append(products, list...)
	}
	return products, len(lists) > 0, nil
}

func (s *Store) setBlocked(ctx context.Context, orderID, why string) error {
	return s.write(ctx, "note what blocks order "+orderID, func(t *txn) error {
		o, err := t.order(ctx, orderID)
		if err != nil || o.Blocked == why {
			return err
		}
		if _, err := t.count(ctx, "write", `UPDATE orders SET blocked = $2 WHERE order_id = $1`, orderID, why); err != nil {
			return err
		}
		if why == "" || o.Blocked != "" {
			return nil
		}
		return t.writeEvent(ctx, OutgoingEvent{Kind: KindBlocked, OrderID: orderID, At: fromMillis(t.now())})
	})
}
