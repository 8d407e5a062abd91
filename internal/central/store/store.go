// Package store keeps what the central server must not forget: stations and
// their sessions, orders and their units, escrows, bound keys, certificates and
// results. It owns the life of a unit: the one transition table and the one
// function that moves a unit along it, with each change written to a history in
// the same transaction.
//
// It must not know HTTP, JSON bodies of the contract, X.509 or how the CA is
// called; the content of an order is bytes to it. What it refuses, it refuses
// with a *Refusal.
//
// The SQL is one text for SQLite and PostgreSQL: $n parameters, UPDATE … RETURNING,
// ON CONFLICT; the time is a parameter of every statement, read once per
// transaction. The lock clause is the only fragment that depends on the engine
// (dialect.go). Transactions are written for READ COMMITTED: what a decision rests
// on is locked before it is read, and a transaction may be run again.
package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Clock tells the time that leases, custody and history go by. Nil means the time
// that all who share the database agree on: PostgreSQL's, or this process's where
// it has the database to itself.
type Clock func() time.Time

// Rules are the lengths of time and counts that the life of a unit depends on.
type Rules struct {
	// Custody is how long a bound unit may go unheard of before it is STRANDED.
	Custody time.Duration
	// SessionTTL is how long a session without a sign of life keeps another instance out.
	SessionTTL time.Duration
	// HomeGrace is how long an order stays with its home station after that one's last sign of life.
	HomeGrace time.Duration
	// MaxAttempts is the number of failed attempts after which a unit is HELD.
	MaxAttempts int
	// BreakerFailures is the number of failures in a row after which a station gets no
	// new units for BreakerPause.
	BreakerFailures int
	BreakerPause    time.Duration
	// BlockedAfter is how long an order may wait for a station that can make it before
	// it is told to be blocked.
	BlockedAfter time.Duration
	// ClaimKeyTTL is how long an Idempotency-Key is remembered.
	ClaimKeyTTL time.Duration
}

// DefaultRules are those of the dispatch contract; SessionTTL is longer than the
// longest long poll (25 s) several times over, HomeGrace long enough for a restart.
func DefaultRules() Rules {
	return Rules{
		Custody:     72 * time.Hour,
		SessionTTL:  2 * time.Minute,
		HomeGrace:   10 * time.Minute,
		MaxAttempts: 5,
		// Three: less than MaxAttempts, so that a bad station does not bring a unit to HELD.
		BreakerFailures: 3,
		BreakerPause:    10 * time.Minute,
		BlockedAfter:    time.Minute,
		ClaimKeyTTL:     24 * time.Hour,
	}
}

// Store is the database. Its methods are safe for use by many goroutines.
type Store struct {
	db      *database.DB
	dialect dialect
	clock   Clock
	rules   Rules
	// mark is the last mark of the store's age that this server saw, changed whether it
	// wrote since.
	mark    atomic.Int64
	changed atomic.Bool
	callers callers
}

// Open opens or creates the database and brings its schema up to date.
func Open(ctx context.Context, at database.Place, clock Clock, rules Rules) (*Store, error) {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db, err := database.Open(ctx, at, sub)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, dialect: dialect(db.Engine), clock: clock, rules: rules}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Shared says whether other servers may be at work on the same store.
func (s *Store) Shared() bool { return s.db.Shared() }

// Notify tells the other servers on this store.
func (s *Store) Notify(ctx context.Context, notice string) error { return s.db.Notify(ctx, notice) }

// Listen hears what they tell, until ctx is done or the connection is lost. ready is
// called once notices arrive.
func (s *Store) Listen(ctx context.Context, ready func(), heard func(notice string)) error {
	return s.db.Listen(ctx, ready, heard)
}

// now is the time, as q reads it.
func (s *Store) now(ctx context.Context, q queryer) (int64, error) {
	if s.clock != nil {
		return millis(s.clock()), nil
	}
	now, err := s.db.Now(ctx, q)
	return millis(now), err
}

// txn is one writing transaction with the one time that holds in it.
type txn struct {
	*database.Tx
	store *Store
	clock func() time.Time
}

// now is that time.
func (t *txn) now() int64 { return millis(t.clock()) }

// write runs fn in a transaction that is on disk when write returns nil. fn may be
// run again, so it sets whatever it gives back anew.
func (s *Store) write(ctx context.Context, what string, fn func(*txn) error) error {
	err := s.transact(ctx, what, fn)
	if err == nil {
		s.changed.Store(true)
	}
	return err
}

// transact is write without the note that something changed.
func (s *Store) transact(ctx context.Context, what string, fn func(*txn) error) error {
	err := s.db.Transact(ctx, func(tx *database.Tx) error {
		clock := tx.Now
		if s.clock != nil {
			now := s.clock()
			clock = func() time.Time { return now }
		}
		if err := fn(&txn{Tx: tx, store: s, clock: clock}); err != nil {
			return err
		}
		crashpoint.Before(crashpoint.Label(what)) // the commit comes next
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	crashpoint.After(crashpoint.Label(what))
	return nil
}

// count runs a statement and says how many rows it changed.
func (t *txn) count(ctx context.Context, what, query string, args ...any) (int64, error) {
	res, err := t.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return n, nil
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

type rowScanner = database.Row

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (database.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) database.Row
}

// collect reads all rows of a query with one scan function.
func collect[T any](ctx context.Context, q queryer, scan func(rowScanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	return scanAll(scan, rows, err)
}

// scanAll reads all rows, unless there are none because of the error.
func scanAll[T any](scan func(rowScanner) (T, error), rows database.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is that of rows.Err
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
