package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Tx is a transaction. On PostgreSQL it is careful with the way to the database and
// back, which costs more than most statements: the time comes with the beginning, and
// statements that nobody waits for go together.
type Tx struct {
	querier
	now time.Time
	// conn is nil on SQLite, where nothing is on a way.
	conn  *sql.Conn
	later []laterStatement
	// err is what became of statements that nobody waited for.
	err error
}

// querier is *sql.Tx, and *sql.Conn.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// laterStatement waits to be sent.
type laterStatement struct {
	what, query string
	args        []any
	one         bool
}

// Now is the time at which the transaction began, which all who share the database
// agree on: PostgreSQL's own; without others the process's.
func (tx *Tx) Now() time.Time { return tx.now }

// One changes one row, what being its name in an error. It may be carried out as late
// as the next statement or the commit, and so may its error come: a transaction in
// which it changed another number of rows is not committed.
func (tx *Tx) One(ctx context.Context, what, query string, args ...any) error {
	return tx.do(ctx, laterStatement{what, query, args, true})
}

// Any is One for a statement that may change any number of rows.
func (tx *Tx) Any(ctx context.Context, what, query string, args ...any) error {
	return tx.do(ctx, laterStatement{what, query, args, false})
}

func (tx *Tx) do(ctx context.Context, s laterStatement) error {
	if tx.conn != nil {
		tx.later = append(tx.later, s)
		return tx.err
	}
	res, err := tx.querier.ExecContext(ctx, s.query, s.args...)
	if err != nil {
		return fmt.Errorf("%s: %w", s.what, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("%s: %w", s.what, err)
	}
	return s.check(n)
}

func (s laterStatement) check(changed int64) error {
	if s.one && changed != 1 {
		return fmt.Errorf("%s: changed %d rows instead of one", s.what, changed)
	}
	return nil
}

// flush carries out what waits, on one way to the database and back.
func (tx *Tx) flush(ctx context.Context) error {
	if tx.err != nil || len(tx.later) == 0 {
		return tx.err
	}
	later := tx.later
	tx.later = nil
	batch := &pgx.Batch{}
	for _, s := range later {
		batch.Queue(s.query, s.args...)
	}
	tx.err = onPostgres(tx.conn, func(c *pgx.Conn) (err error) {
		results := c.SendBatch(ctx, batch)
		defer func() { err = errors.Join(err, results.Close()) }()
		for _, s := range later {
			tag, err := results.Exec()
			if err != nil {
				return fmt.Errorf("%s: %w", s.what, err)
			}
			if err := s.check(tag.RowsAffected()); err != nil {
				return err
			}
		}
		return nil
	})
	return tx.err
}

// ExecContext is that of *sql.Tx.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := tx.flush(ctx); err != nil {
		return nil, err
	}
	return tx.querier.ExecContext(ctx, query, args...)
}

// QueryContext is that of *sql.Tx.
func (tx *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := tx.flush(ctx); err != nil {
		return nil, err
	}
	return tx.querier.QueryContext(ctx, query, args...)
}

// QueryRowContext is that of *sql.Tx.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := tx.flush(ctx); err != nil {
		// Only database/sql can make a row with an error in it.
		gone, cancel := context.WithCancelCause(ctx)
		cancel(err)
		ctx = gone
	}
	return tx.querier.QueryRowContext(ctx, query, args...)
}

// beginPostgres begins a transaction and asks for the time, both at once.
const beginPostgres = `BEGIN; SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`

// oncePostgres carries fn out in one transaction of PostgreSQL.
func (db *DB) oncePostgres(ctx context.Context, fn func(*Tx) error) (err error) {
	conn, err := db.Write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	tx := &Tx{querier: conn, conn: conn}
	if tx.now, err = begin(ctx, conn); err != nil {
		return fmt.Errorf("begin: %w", errors.Join(err, rollback(ctx, conn)))
	}
	ended := false
	defer func() {
		if !ended { // fn may have panicked
			err = errors.Join(err, rollback(ctx, conn))
		}
	}()
	err = fn(tx)
	if lost := tx.flush(ctx); lost != nil {
		err = lost // whatever fn met after it came of it
	}
	if err != nil {
		return err
	}
	ended = true
	if err := commit(ctx, conn); err != nil {
		return fmt.Errorf("commit: %w", errors.Join(err, rollback(ctx, conn)))
	}
	return nil
}

func begin(ctx context.Context, conn *sql.Conn) (now time.Time, err error) {
	err = onPostgres(conn, func(c *pgx.Conn) error {
		results, err := c.PgConn().Exec(ctx, beginPostgres).ReadAll()
		if err != nil {
			return err
		}
		if len(results) != 2 || len(results[1].Rows) != 1 || len(results[1].Rows[0]) != 1 {
			return errors.New("the database did not tell its time")
		}
		ms, err := strconv.ParseInt(string(results[1].Rows[0][0]), 10, 64)
		now = time.UnixMilli(ms)
		return err
	})
	return now, err
}

func commit(ctx context.Context, conn *sql.Conn) error {
	return onPostgres(conn, func(c *pgx.Conn) error {
		results, err := c.PgConn().Exec(ctx, "COMMIT").ReadAll()
		if err != nil {
			return err
		}
		// PostgreSQL answers so where a statement had failed.
		if len(results) != 1 || results[0].CommandTag.String() != "COMMIT" {
			return errors.New("the database rolled it back")
		}
		return nil
	})
}

// rollback ends the transaction, if there is one; a connection on which that does not
// work is not used again.
func rollback(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
	defer cancel()
	err := conn.Raw(func(c any) error {
		pg := c.(*stdlib.Conn).Conn().PgConn()
		if pg.IsClosed() {
			return driver.ErrBadConn
		}
		if pg.TxStatus() == 'I' { // idle: there is none
			return nil
		}
		if _, err := pg.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
			return driver.ErrBadConn
		}
		return nil
	})
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		return nil // the server rolls back what a connection leaves
	}
	return err
}

// onPostgres hands the driver's own connection to fn.
func onPostgres(conn *sql.Conn, fn func(*pgx.Conn) error) error {
	return conn.Raw(func(c any) error {
		pg, ok := c.(*stdlib.Conn)
		if !ok {
			return errors.New("the PostgreSQL driver's connections have changed")
		}
		return fn(pg.Conn())
	})
}
