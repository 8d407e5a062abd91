// Package database opens databases on the two engines that the server knows: a
// SQLite file, which one process has to itself, and a schema of a PostgreSQL
// database, which any number of processes share.
//
// It owns the drivers and their settings, migrations, transactions that are begun
// again when others were in their way, the clock that holds for everybody, and
// notices between processes. It must not know any table.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/sqlite"
)

// Engine is what keeps a database.
type Engine int

// Engines.
const (
	SQLite Engine = iota
	PostgreSQL
)

// Place is where a database is. The zero Place is nowhere.
type Place struct {
	file   string
	server Postgres
	schema string
	node   *Node
}

// File is a SQLite file; it is made with mode 0600 if it is not there.
func File(path string) Place { return Place{file: path} }

// String names the place for people, without a password.
func (p Place) String() string {
	if p.node != nil {
		return p.node.common.path
	}
	if p.schema != "" {
		return "schema " + p.schema + " of " + p.server.String()
	}
	return p.file
}

// Exists says whether something was kept there before. It makes nothing.
func (p Place) Exists(ctx context.Context) (bool, error) {
	if p.schema != "" {
		return p.server.holds(ctx, p.schema)
	}
	path := p.file
	if p.node != nil {
		path = p.node.common.path
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// DB is an open database.
type DB struct {
	Engine Engine
	// Write is for transactions that write; use Transact. On SQLite it has one connection
	// and begins its transactions IMMEDIATE, so that two of them queue instead of
	// failing half-way with SQLITE_BUSY.
	Write *sql.DB
	// Read refuses to write.
	Read Reader

	server Postgres
	// together is nil where transactions run beside each other.
	together *sqlite.Together
	// changes is nil where others may write too.
	changes *sqlite.Changes
	// node is nil unless the file is open in this process under several servers.
	node *Node
}

// Open opens or creates the database and brings its schema up to date with the
// migrations, which are goose SQL files. Several processes may do so at once.
func Open(ctx context.Context, at Place, migrations fs.FS) (*DB, error) {
	open := openSQLite
	switch {
	case at.node != nil:
		open = openNode
	case at.schema != "":
		open = openPostgres
	}
	db, err := open(ctx, at, migrations)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", at, err)
	}
	return db, nil
}

// Close closes both sides; the last one to close a SQLite file folds the log into it.
func (db *DB) Close() error {
	if db.node != nil {
		return nil // the others go on
	}
	if db.together != nil {
		db.together.Close()
	}
	var errs []error
	for _, d := range []*sql.DB{db.Read.DB, db.Write} {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	return errors.Join(errs...)
}

// Reader reads.
type Reader struct {
	*sql.DB
	// whole says that a statement that has begun comes to its end, so that database/sql
	// need not watch each with a goroutine.
	whole bool
}

// QueryContext is that of *sql.DB.
func (r Reader) QueryContext(ctx context.Context, query string, args ...any) (Rows, error) {
	return r.DB.QueryContext(r.unwatched(ctx), query, args...)
}

// QueryRowContext is that of *sql.DB.
func (r Reader) QueryRowContext(ctx context.Context, query string, args ...any) Row {
	return r.DB.QueryRowContext(r.unwatched(ctx), query, args...)
}

func (r Reader) unwatched(ctx context.Context) context.Context {
	if r.whole && ctx.Err() == nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// Shared says whether other servers may have the same database open.
func (db *DB) Shared() bool { return db.Engine == PostgreSQL || db.node != nil }

// Now is the time that all who share the database agree on: PostgreSQL's own, as q
// reads it; without others the process's.
func (db *DB) Now(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) Row
}) (time.Time, error) {
	if db.Engine == SQLite {
		return time.Now(), nil
	}
	var ms int64
	if err := q.QueryRowContext(ctx, `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`).Scan(&ms); err != nil {
		return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
	}
	return time.UnixMilli(ms), nil
}

// Snapshot begins a transaction that only reads, and in which all statements see
// the same state.
func (db *DB) Snapshot(ctx context.Context) (Snapshot, error) {
	tx, err := db.Read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	return Snapshot{tx}, err
}

// Snapshot is described at DB.
type Snapshot struct{ *sql.Tx }

// QueryContext is that of *sql.Tx.
func (s Snapshot) QueryContext(ctx context.Context, query string, args ...any) (Rows, error) {
	return s.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext is that of *sql.Tx.
func (s Snapshot) QueryRowContext(ctx context.Context, query string, args ...any) Row {
	return s.Tx.QueryRowContext(ctx, query, args...)
}

// Changes counts the commits that may have changed a table since the database was opened:
// what was read after a count was taken is still so while the count is the same. known is
// false where other processes may change the table too.
func (db *DB) Changes(table string) (count uint64, known bool) {
	if db.changes == nil {
		return 0, false
	}
	return db.changes.Count(table), true
}
