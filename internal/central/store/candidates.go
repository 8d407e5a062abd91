package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// livingHome is a row while the order's home was heard of since $3 and is not
// revoked. It is a subquery because a row that PostgreSQL had to wait for is judged
// again by its newest version, but with what was joined to its old one.
const livingHome = `SELECT 1 FROM sessions se JOIN stations st ON st.name = se.station
	WHERE se.station = o.home_station AND se.seen_at >= $3 AND st.revoked_at IS NULL AND st.drain = 0 AND st.tripped_until <= $4`

// absentHomes are the stations whose orders others may take; see livingHome. The upper
// ends exclude nothing: before PostgreSQL has counted a table it takes what has two ends
// for few rows, and what has one for a third of all, which it would read from end to end.
const absentHomes = `SELECT station FROM sessions WHERE seen_at >= 0 AND seen_at < $3
	UNION ALL SELECT name FROM stations WHERE revoked_at >= 0 AND revoked_at < 9007199254740992
	UNION ALL SELECT name FROM stations WHERE drain = 1
	UNION ALL SELECT name FROM stations WHERE tripped_until > $4 AND tripped_until < 9007199254740992`

// spareOrders is how many more orders than units are looked at, for those that other
// claims are just taking.
const spareOrders = 8

const orderRank = `o.urgent DESC, o.due_at, o.accepted_at, o.order_id`

// near is the orders of one home in which a station may find units, best first: a search
// by index, so that what waits for other stations costs nothing. Two things are for
// PostgreSQL: the home is in the order, because it does not see that IS NULL leaves one
// of them; and units are looked for order by order, where with EXISTS it would, before
// it has counted the tables, look through all READY ones.
func near(columns, home, products, limit string) string {
	return `SELECT ` + columns + ` FROM orders o
		WHERE o.open = 1 AND o.on_hold = 0 AND o.cancelled_at = 0 AND o.home_station ` + home + ` AND o.product_code IN (` + products + `)
			AND (SELECT r.order_id FROM units r WHERE r.order_id = o.order_id AND r.state = $1 LIMIT 1) IS NOT NULL
		ORDER BY o.home_station, ` + orderRank + ` LIMIT ` + limit
}

// candidates is the orders in which a station may find units, best first; of each absent
// home the best one. An order is taken by one station: its home, until that has been
// silent for HomeGrace or is revoked, or gets no units itself. A station that drains, is
// revoked, or whose breaker is open may take nothing. Nothing is locked: take judges again.
func candidates(products int) string {
	numbers := []string{"NULL"} // for a station that can make nothing
	for i := range products {
		numbers = append(numbers, "$"+strconv.Itoa(6+i))
	}
	in := strings.Join(numbers, ", ")
	const rank = `o.order_id, o.urgent, o.due_at, o.accepted_at`
	return `SELECT o.order_id FROM (
			SELECT * FROM (` + near(rank, `= $2`, in, `$5`) + `) own
			UNION ALL SELECT * FROM (` + near(rank, `IS NULL`, in, `$5`) + `) free
			UNION ALL SELECT ` + rank + ` FROM (SELECT (` + near(`o.order_id`, `= a.station`, in, `1`) + `) AS best FROM (` + absentHomes + `) a) absent
				JOIN orders o ON o.order_id = absent.best) o
		WHERE NOT EXISTS (SELECT 1 FROM stations me WHERE me.name = $2 AND (me.drain <> 0 OR me.tripped_until > $4 OR me.revoked_at IS NOT NULL))
		ORDER BY ` + orderRank + ` LIMIT $5`
}

// candidates lists the orders in which a claim may find units.
func (s *Store) candidates(ctx context.Context, q queryer, c Claim, now int64, limit int) ([]string, error) {
	rows, err := q.QueryContext(ctx, candidates(len(c.Products)), s.candidateArgs(c, now, limit)...)
	return scanOrderIDs(rows, err)
}

// askCandidates is candidates for as many units as the claim may have, asked now and read later.
func (t *txn) askCandidates(ctx context.Context, c Claim) func() ([]string, error) {
	asked := t.Ask(ctx, candidates(len(c.Products)), t.store.candidateArgs(c, t.now(), c.Max+spareOrders)...)
	return func() ([]string, error) { return scanOrderIDs(asked.Rows()) }
}

func (s *Store) candidateArgs(c Claim, now int64, limit int) []any {
	args := []any{Ready, c.Station, now - s.rules.HomeGrace.Milliseconds(), now, limit}
	for _, p := range c.Products {
		args = append(args, p)
	}
	return args
}

func scanOrderIDs(rows database.Rows, err error) ([]string, error) {
	orders, err := scanAll(func(r rowScanner) (id string, err error) { return id, r.Scan(&id) }, rows, err)
	if err != nil {
		return nil, fmt.Errorf("look for units: %w", err)
	}
	return orders, nil
}

// take locks an order and the first of its units that the station may have; nothing if
// another claim has its hand on the order.
func (t *txn) take(ctx context.Context, c Claim, orderID string, limit int) ([]Lease, error) {
	leases, err := collect(ctx, t, scanCandidate, `SELECT `+unitColumns+`, `+orderColumns+`
		FROM orders o JOIN units u ON u.order_id = o.order_id
		WHERE o.order_id = $3 AND u.state = $1 AND o.on_hold = 0 AND o.cancelled_at = 0
		ORDER BY u.sequence LIMIT $2 `+t.store.dialect.lockFree("o, u"),
		Ready, limit, orderID)
	if err != nil {
		return nil, fmt.Errorf("find units: %w", err)
	}
	// A revision may have made another product of it since it was found.
	if len(leases) == 0 || !slices.Contains(c.Products, leases[0].Order.ProductCode) {
		return nil, nil
	}
	foreign, err := t.foreign(ctx, c, leases[0].Order)
	if err != nil || foreign {
		return nil, err
	}
	return leases, nil
}

func scanCandidate(r rowScanner) (Lease, error) {
	var l Lease
	var expires, updated int64
	var times orderTimes
	if err := r.Scan(append(l.Unit.targets(&expires, &updated), l.Order.targets(&times)...)...); err != nil {
		return Lease{}, err
	}
	l.Unit.ExpiresAt, l.Unit.UpdatedAt = fromMillis(expires), fromMillis(updated)
	l.Order.take(times)
	return l, nil
}

// Claimable says whether a claim would get something, without a write: units that
// are free, or those that a repeat of it got meanwhile, perhaps at another server.
func (s *Store) Claimable(ctx context.Context, c Claim) (bool, error) {
	now, err := s.now(ctx, s.db.Read)
	if err != nil {
		return false, err
	}
	if s.Shared() {
		known, err := scanClaimKey(s.db.Read.QueryRowContext(ctx, selectClaimKey, s.claimKeyArgs(c, now)...), c)
		if known != nil || isRefusal(err, ClaimKeyReused) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	found, err := s.candidates(ctx, s.db.Read, c, now, 1)
	return len(found) > 0, err
}
