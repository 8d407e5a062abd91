// Package sqlitedb opens SQLite files in the one way in which this server uses
// them: write-ahead log, every commit synced to disk before it is answered,
// foreign keys on, one connection that writes and a few that only read.
//
// It owns the driver and its settings. It must not know any table.
package sqlitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// readers is how many connections may read at the same time. WAL lets them read beside the writer.
const readers = 4

// DB is one SQLite file.
type DB struct {
	// Write has one connection and begins its transactions IMMEDIATE, so that two of
	// them queue instead of failing half-way with SQLITE_BUSY.
	Write *sql.DB
	// Read refuses to write.
	Read *sql.DB
}

// Open opens or creates the file (mode 0600) and brings its schema up to date
// with the migrations, which are goose SQL files.
func Open(ctx context.Context, path string, migrations fs.FS) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	// SQLite would create the file with the umask's mode; it holds personal data.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	db := &DB{}
	if db.Write, err = sql.Open("sqlite", dsn(abs, "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	db.Write.SetMaxOpenConns(1)
	if db.Read, err = sql.Open("sqlite", dsn(abs, "_pragma=query_only(ON)")); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	db.Read.SetMaxOpenConns(readers)
	if err := migrate(ctx, db.Write, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("bring database %s up to date: %w", path, err), db.Close())
	}
	return db, nil
}

// Close closes both sides; the last one to close folds the log into the file.
func (db *DB) Close() error {
	var errs []error
	for _, d := range []*sql.DB{db.Read, db.Write} {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	return errors.Join(errs...)
}

func dsn(path, more string) string {
	// synchronous(FULL): in WAL mode NORMAL would lose the last commits in a power
	// cut, and a PUT that was answered must not be lost.
	const pragmas = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)"
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: pragmas + "&" + more}
	return u.String()
}

func migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, db, migrations)
	if err != nil {
		return err
	}
	for {
		if pending, err := p.HasPending(ctx); err != nil || !pending {
			return err
		}
		crashpoint.Before(crashpoint.Schema)
		if _, err := p.UpByOne(ctx); err != nil {
			return err
		}
		crashpoint.After(crashpoint.Schema)
	}
}
