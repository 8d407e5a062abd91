package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// Tx is a transaction. On PostgreSQL it is careful with the way to the database and
// back, which costs more than most statements: what is asked and what is written waits
// until somebody needs an answer, and then goes together, in its order. The beginning
// goes with the first of it and the commit with the last.
type Tx struct {
	// lite is nil on PostgreSQL, way on SQLite, where nothing is on a way.
	lite *sql.Tx
	way  *way
	now  func() time.Time
}

// Row is the one row of a query. Rows are those of a query; see *sql.Row and *sql.Rows.
type Row interface{ Scan(dest ...any) error }

// Rows is described at Row.
type Rows interface {
	Row
	Next() bool
	Err() error
	Close() error
}

// onSQLite is a transaction of a SQLite file.
func onSQLite(tx *sql.Tx) *Tx {
	now := time.Now()
	return &Tx{lite: tx, now: func() time.Time { return now }}
}

// Now is the time at which the transaction began, which all who share the database
// agree on: PostgreSQL's own; without others the process's. On PostgreSQL it comes with
// the first answer, so whoever asks for it later waits less. It is zero when it cannot be
// told; then the transaction is not committed.
func (tx *Tx) Now() time.Time { return tx.now() }

// One changes one row, what being its name in an error. It may be carried out as late
// as the next answer or the commit, and so may its error come: a transaction in
// which it changed another number of rows is not committed.
func (tx *Tx) One(ctx context.Context, what, query string, args ...any) error {
	return tx.do(ctx, what, query, args, true)
}

// Any is One for a statement that may change any number of rows.
func (tx *Tx) Any(ctx context.Context, what, query string, args ...any) error {
	return tx.do(ctx, what, query, args, false)
}

func (tx *Tx) do(ctx context.Context, what, query string, args []any, one bool) error {
	if tx.way != nil {
		return tx.way.later(what, query, args, one)
	}
	res, err := tx.lite.ExecContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if one && n != 1 {
		return fmt.Errorf("%s: changed %d rows instead of one", what, n)
	}
	return nil
}

// Answer is what a query will have found. It is asked when it is its turn among what waits
// to be sent, or when it is read, so it must be read if asking changes anything.
type Answer struct {
	ctx   context.Context
	tx    *Tx
	query string
	args  []any
	reply *reply // nil on SQLite
}

// Ask asks a query whose answer is read once. Several that are asked before one is read
// are on the way to the database together.
func (tx *Tx) Ask(ctx context.Context, query string, args ...any) *Answer {
	a := &Answer{ctx: ctx, tx: tx, query: query, args: args}
	if tx.way != nil {
		a.reply = tx.way.ask(query, args)
	}
	return a
}

// Rows gives all rows.
func (a *Answer) Rows() (Rows, error) {
	if a.reply == nil {
		return a.tx.lite.QueryContext(a.ctx, a.query, a.args...)
	}
	if err := a.tx.way.wait(a.ctx, a.reply); err != nil {
		return nil, err
	}
	return &a.reply.rows, nil
}

// Scan reads the first row; without one it is sql.ErrNoRows.
func (a *Answer) Scan(dest ...any) error {
	if a.reply == nil {
		return a.tx.lite.QueryRowContext(a.ctx, a.query, a.args...).Scan(dest...)
	}
	if err := a.tx.way.wait(a.ctx, a.reply); err != nil {
		return err
	}
	if !a.reply.rows.Next() {
		return sql.ErrNoRows
	}
	return a.reply.rows.Scan(dest...)
}

// QueryContext is that of *sql.Tx.
func (tx *Tx) QueryContext(ctx context.Context, query string, args ...any) (Rows, error) {
	return tx.Ask(ctx, query, args...).Rows()
}

// QueryRowContext is that of *sql.Tx.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) Row {
	return tx.Ask(ctx, query, args...)
}

// ExecContext is that of *sql.Tx.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if tx.way == nil {
		return tx.lite.ExecContext(ctx, query, args...)
	}
	reply := tx.way.ask(query, args)
	if err := tx.way.wait(ctx, reply); err != nil {
		return nil, err
	}
	return driver.RowsAffected(reply.changed), nil
}

// oncePostgres carries fn out in one transaction of PostgreSQL.
func (db *DB) oncePostgres(ctx context.Context, fn func(*Tx) error) (err error) {
	conn, err := db.Write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return conn.Raw(func(c any) error { return transactPostgres(ctx, c, fn) })
}

// beginning is asked for the time along with it.
const (
	beginning   = `BEGIN`
	timeOfBegin = `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`
	commit      = `COMMIT`
)

// transactPostgres begins, carries fn out and commits, on the driver's own connection.
// database/sql throws the connection away if fn panics.
func transactPostgres(ctx context.Context, c any, fn func(*Tx) error) error {
	w, err := newWay(c)
	if err != nil {
		return err
	}
	begun := w.ask(beginning, nil)
	clock := w.ask(timeOfBegin, nil)
	var now time.Time
	err = fn(&Tx{way: w, now: func() time.Time {
		if now.IsZero() && w.wait(ctx, clock) == nil {
			now = w.time(clock)
		}
		return now
	}})
	if w.err != nil {
		err = w.err // whatever fn met after it came of it
	}
	if err == nil {
		err = w.commit(ctx)
	}
	if err != nil && begun.sent {
		w.rollback(ctx)
	}
	return err
}
