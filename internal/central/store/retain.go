package store

import (
	"context"
	"fmt"
	"time"
)

// Reader understands what is only bytes to this package.
type Reader struct {
	// Clean takes the persons out of an order's document.
	Clean func(content []byte) ([]byte, error)
	// Issuer is the DER of the name that issued the certificate with this SHA-256 in a
	// CA's answer.
	Issuer func(pkcs7 []byte, sha256 string) ([]byte, error)
}

// ClearPersonalData removes the personal data of every order whose last unit was
// shipped or cancelled that long ago or longer: names, addresses, telephone numbers
// and e-mail in the order, the requests and certificates that repeat them, and
// every sentence that came from outside. What stays are ids, states, times and
// digests, and what it takes to revoke a certificate later. What comes to an order
// after that, such as a certificate that was not believed in or a parcel that came back,
// is removed when it is that old, too.
func (s *Store) ClearPersonalData(ctx context.Context, age time.Duration, r Reader) (cleared int, err error) {
	now, err := s.now(ctx, s.db.Read)
	if err != nil {
		return 0, err
	}
	before := now - age.Milliseconds()
	ids, err := collect(ctx, s.db.Read, func(r rowScanner) (id string, err error) { return id, r.Scan(&id) },
		`SELECT o.order_id FROM orders o WHERE `+clearable+` ORDER BY o.order_id`, Shipped, Cancelled, before, age.Milliseconds())
	if err != nil {
		return 0, fmt.Errorf("look for old orders: %w", err)
	}
	for _, id := range ids {
		done, err := s.clear(ctx, id, before, age, r)
		if err != nil {
			return cleared, err
		}
		if done {
			cleared++
		}
	}
	if cleared == 0 {
		return 0, nil
	}
	return cleared, s.scrub(ctx)
}

// clearable says that an order is done with, that nothing has come to it since $3, and
// that something has since its personal data were removed last. Whatever there was then was
// $4 old, so that nothing is missed that came at that moment.
const clearable = `NOT EXISTS (SELECT 1 FROM units u WHERE u.order_id = o.order_id AND u.state NOT IN ($1, $2))
	AND (SELECT MAX(c.came_at) FROM (` + changes + `) c) BETWEEN o.cleared_at - $4 + 1 AND $3`

// changes is when personal data or sentences of an order o came.
const changes = `SELECT u.updated_at AS came_at FROM units u WHERE u.order_id = o.order_id
	UNION ALL SELECT b.issued_at FROM units u JOIN bindings b ON b.unit_id = u.unit_id WHERE u.order_id = o.order_id
	UNION ALL SELECT s.noticed_at FROM units u JOIN surplus_certificates s ON s.unit_id = u.unit_id WHERE u.order_id = o.order_id
	UNION ALL SELECT r.created_at FROM units u JOIN results r ON r.unit_id = u.unit_id WHERE u.order_id = o.order_id
	UNION ALL SELECT l.created_at FROM units u JOIN late_results l ON l.unit_id = u.unit_id WHERE u.order_id = o.order_id
	UNION ALL SELECT d.requested_at FROM units u JOIN decisions d ON d.unit_id = u.unit_id WHERE u.order_id = o.order_id`

func (s *Store) clear(ctx context.Context, orderID string, before int64, age time.Duration, r Reader) (done bool, err error) {
	err = s.write(ctx, "clear the personal data of order "+orderID, func(t *txn) error {
		done = false
		o, err := t.order(ctx, orderID)
		if err != nil {
			return err
		}
		if _, err := t.unitsOf(ctx, orderID); err != nil {
			return err
		}
		var old int
		err = t.QueryRowContext(ctx, `SELECT COUNT(*) FROM orders o WHERE o.order_id = $5 AND `+clearable,
			Shipped, Cancelled, before, age.Milliseconds(), orderID).Scan(&old)
		if err != nil || old == 0 {
			return err // it moved meanwhile
		}
		content, err := r.Clean(o.Content)
		if err != nil {
			return err
		}
		if err := t.keepIssuers(ctx, orderID, r); err != nil {
			return err
		}
		done = true
		const mine = ` WHERE unit_id IN (SELECT u.unit_id FROM units u WHERE u.order_id = $1)`
		for _, change := range []struct {
			query string
			args  []any
		}{
			{`UPDATE orders SET content = $2, cleared_at = $3 WHERE order_id = $1`, []any{orderID, content, t.now()}},
			{`UPDATE bindings SET csr = $2, pkcs7 = NULL, subject = ''` + mine, []any{orderID, []byte{}}},
			{`UPDATE surplus_certificates SET pkcs7 = NULL` + mine, []any{orderID}},
			{`UPDATE decisions SET pkcs7 = NULL, subject = '', reason = ''` + mine, []any{orderID}},
			{`UPDATE results SET reason = ''` + mine, []any{orderID}},
			{`UPDATE late_results SET reason = ''` + mine, []any{orderID}},
			{`UPDATE waits SET why = ''` + mine, []any{orderID}},
			{`UPDATE units SET held_reason = '' WHERE order_id = $1`, []any{orderID}},
			{`UPDATE history SET why = ''` + mine, []any{orderID}},
		} {
			if _, err := t.count(ctx, "clear", change.query, change.args...); err != nil {
				return err
			}
		}
		return nil
	})
	return done, err
}

// keepIssuers keeps who issued the certificates of an order: a parcel may come back
// after its order's data are gone, and its certificate is revoked all the same.
func (t *txn) keepIssuers(ctx context.Context, orderID string, r Reader) error {
	type answer struct {
		sha256 string
		pkcs7  []byte
	}
	answers, err := collect(ctx, t, func(row rowScanner) (answer, error) {
		var a answer
		return a, row.Scan(&a.sha256, &a.pkcs7)
	}, `SELECT c.certificate_sha256, c.pkcs7 FROM (
			SELECT unit_id, certificate_sha256, pkcs7 FROM bindings
			UNION ALL SELECT unit_id, certificate_sha256, pkcs7 FROM surplus_certificates) c
		JOIN units u ON u.unit_id = c.unit_id WHERE u.order_id = $1 AND c.pkcs7 IS NOT NULL ORDER BY c.certificate_sha256`, orderID)
	if err != nil {
		return fmt.Errorf("list the certificates of order %s: %w", orderID, err)
	}
	for _, a := range answers {
		issuer, err := r.Issuer(a.pkcs7, a.sha256)
		if err != nil {
			return fmt.Errorf("issuer of certificate %s: %w", a.sha256, err)
		}
		_, err = t.count(ctx, "keep issuer", `INSERT INTO issuers (certificate_sha256, issuer) VALUES ($1, $2)
			ON CONFLICT (certificate_sha256) DO NOTHING`, a.sha256, issuer)
		if err != nil {
			return err
		}
	}
	return nil
}

// scrub drops what the engine keeps of rows that were overwritten: SQLite's pages
// are zeroed as they are freed (secure_delete), and its log is folded in and cut to
// nothing here.
func (s *Store) scrub(ctx context.Context) error {
	if s.Shared() {
		return nil // PostgreSQL's autovacuum and its log's recycling are the operator's
	}
	if _, err := s.db.Write.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		return fmt.Errorf("empty the log: %w", err)
	}
	return nil
}
