package database

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
)

// way is one transaction's way to PostgreSQL and back. Statements gather on it and are sent
// together (the protocol's pipelining): the database carries them out in their order, each
// seeing what was committed when it is its turn, and none of them after one that failed.
type way struct {
	conn    *pgx.Conn
	waiting []*reply
	// err is of the first statement that failed; after it the transaction is not committed.
	err error
}

// reply is one statement and, after it was sent, its answer.
type reply struct {
	what, query string
	args        []any
	// one says that the database itself refuses another number of rows than one.
	one     bool
	sent    bool
	rows    buffered
	changed int64
	tag     string
}

func newWay(c any) (*way, error) {
	pg, ok := c.(*stdlib.Conn)
	if !ok {
		return nil, errors.New("the PostgreSQL driver's connections have changed")
	}
	return &way{conn: pg.Conn()}, nil
}

// ask lets a statement wait to be sent.
func (w *way) ask(query string, args []any) *reply {
	r := &reply{query: query, args: args}
	w.waiting = append(w.waiting, r)
	return r
}

// later is ask for a statement whose answer is nothing but that it was carried out.
func (w *way) later(what, query string, args []any, one bool) error {
	if w.err != nil {
		return w.err
	}
	r := w.ask(query, args)
	r.what = what
	// A plain INSERT of one row makes one or fails.
	if one && (!strings.HasPrefix(query, "INSERT") || strings.Contains(query, "ON CONFLICT")) {
		r.one, r.query = true, exactlyOne(query)
	}
	return nil
}

// exactlyOne makes a statement fail, by division_by_zero, unless it changes one row, so
// that the commit may follow it before it is known what it did.
func exactlyOne(query string) string {
	return `WITH changed AS (` + query + ` RETURNING 1) SELECT 1 / CASE COUNT(*) WHEN 1 THEN 1 ELSE 0 END FROM changed`
}

// divisionByZero is its code in PostgreSQL's documentation, appendix A.
const divisionByZero = "22012"

// failed says what a statement's error means.
func (r *reply) failed(err error) error {
	var said *pgconn.PgError
	if r.one && errors.As(err, &said) && said.Code == divisionByZero {
		err = errors.New("changed another number of rows than one")
	}
	if r.what == "" {
		return err
	}
	return fmt.Errorf("%s: %w", r.what, err)
}

// wait sends what waits, unless the reply is here.
func (w *way) wait(ctx context.Context, r *reply) error {
	if w.err == nil && !r.sent {
		w.err = w.send(ctx)
	}
	return w.err
}

func (w *way) send(ctx context.Context) error {
	batch := &pgx.Batch{}
	sent := w.waiting
	w.waiting = nil
	for _, r := range sent {
		batch.Queue(r.query, r.args...)
		r.sent = true
	}
	results := w.conn.SendBatch(ctx, batch)
	for _, r := range sent {
		if err := r.take(results, w.conn.TypeMap()); err != nil {
			_ = results.Close() // it says the same
			return r.failed(err)
		}
	}
	return results.Close()
}

// take keeps a statement's answer, for the next one's comes over the same connection.
func (r *reply) take(results pgx.BatchResults, types *pgtype.Map) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	r.rows = buffered{types: types, fields: slices.Clone(rows.FieldDescriptions())}
	for rows.Next() {
		r.rows.add(rows.RawValues())
	}
	rows.Close()
	r.tag, r.changed = rows.CommandTag().String(), rows.CommandTag().RowsAffected()
	return rows.Err()
}

func (w *way) time(clock *reply) (now time.Time) {
	var ms int64
	if clock.rows.Next() {
		w.err = clock.rows.Scan(&ms)
	} else {
		w.err = errors.New("the database did not tell its time")
	}
	if w.err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// commit sends it with whatever waits: it is not carried out if something before it failed.
func (w *way) commit(ctx context.Context) error {
	r := w.ask(commit, nil)
	r.what = "commit"
	if err := w.wait(ctx, r); err != nil {
		return err
	}
	// PostgreSQL answers so where a statement had failed.
	if r.tag != commit {
		return errors.New("commit: the database rolled it back")
	}
	return nil
}

// rollback ends the transaction, if there is one; a connection on which that does not
// work is closed, and the server rolls back what it leaves.
func (w *way) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
	defer cancel()
	pg := w.conn.PgConn()
	if pg.IsClosed() || pg.TxStatus() == 'I' { // idle: there is none
		return
	}
	if _, err := pg.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
		_ = pg.Close(ctx) // whatever it says, it is not used again
	}
}

// buffered is rows as they came.
type buffered struct {
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	values [][][]byte
	row    [][]byte
}

func (b *buffered) add(values [][]byte) {
	kept := make([][]byte, len(values))
	for i, v := range values {
		if v != nil {
			kept[i] = append(make([]byte, 0, len(v)), v...)
		}
	}
	b.values = append(b.values, kept)
}

// Next implements Rows.
func (b *buffered) Next() bool {
	if len(b.values) == 0 {
		return false
	}
	b.row, b.values = b.values[0], b.values[1:]
	return true
}

// Scan implements Row.
func (b *buffered) Scan(dest ...any) error {
	return pgx.ScanRow(b.types, b.fields, b.row, dest...)
}

// Err implements Rows: an error came with the answer.
func (b *buffered) Err() error { return nil }

// Close implements Rows.
func (b *buffered) Close() error { return nil }
