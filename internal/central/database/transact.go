package database

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/usbkeyd/usbkeyd/internal/sqlite"
)

const (
	// attempts is how often a transaction is tried in all before its error is the caller's.
	attempts = 10
	// firstPause is before the second attempt; it doubles, and is spread by chance.
	firstPause = time.Millisecond
	// rollbackTime is what a rollback may take before the connection is given up.
	rollbackTime = 5 * time.Second
)

// ErrAgain is what the function of a transaction returns when another transaction
// was faster, so that it should look once more.
var ErrAgain = errors.New("another transaction was faster")

// Transact runs fn in a transaction that is on disk when Transact returns nil. What
// PostgreSQL could not bring into an order with other transactions is begun again a
// few times: fn must not rely on what an earlier run of it has left behind.
func (db *DB) Transact(ctx context.Context, fn func(*Tx) error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := db.once(ctx, fn)
		if err == nil || n == attempts || !again(err) {
			return err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
		pause *= 2
	}
}

func (db *DB) once(ctx context.Context, fn func(*Tx) error) error {
	if db.node != nil && db.node.lost.Load() {
		return errLost
	}
	if db.together != nil {
		return db.together.Do(ctx, func(tx *sql.Tx) error { return fn(onSQLite(tx)) })
	}
	return db.oncePostgres(ctx, fn)
}

// again says whether another attempt may go better. The codes are those of
// PostgreSQL's documentation, appendix A.
func again(err error) bool {
	if errors.Is(err, ErrAgain) {
		return true
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case "40001", // serialization_failure
		"40P01", // deadlock_detected
		// unique_violation: somebody wrote, after this transaction looked, what it did not
		// find; the next attempt finds it.
		"23505":
		return true
	}
	return false
}

// Lasting says that the database refused what a transaction would write, and would again,
// as opposed to what passes, such as a database that is away, or full, or has its tables
// elsewhere just now. The classes are those of PostgreSQL's documentation, appendix A.
func Lasting(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return sqlite.Lasting(err)
	}
	switch refused.Code[:min(2, len(refused.Code))] {
	case "22", "23", "54": // data_exception, integrity_constraint_violation, program_limit_exceeded
		return true
	}
	return false
}
