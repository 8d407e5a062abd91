package database

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
	"github.com/usbkeyd/usbkeyd/internal/sqlite"
)

// sqliteReaders is how many connections may read at the same time. WAL lets them read beside the writer.
const sqliteReaders = 4

func openSQLite(ctx context.Context, at Place, migrations fs.FS) (*DB, error) {
	if at.file == "" {
		return nil, errors.New("no place is given")
	}
	path, err := filepath.Abs(at.file)
	if err != nil {
		return nil, err
	}
	// SQLite would create the file with the umask's mode; it holds personal data.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db := &DB{Engine: SQLite, changes: sqlite.NewChanges()}
	db.Write = sql.OpenDB(sqlite.Connector{DSN: sqliteDSN(path, "_txlock=immediate"), Changes: db.changes})
	db.Write.SetMaxOpenConns(1)
	db.Read = Reader{sql.OpenDB(sqlite.Connector{DSN: sqliteDSN(path, "_pragma=query_only(ON)"), Apart: true}), true}
	db.Read.SetMaxOpenConns(sqliteReaders)
	db.Read.SetMaxIdleConns(sqliteReaders)
	if err := migrate(ctx, goose.DialectSQLite3, db.Write, migrations); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	db.together = sqlite.NewTogether(db.Write)
	return db, nil
}

func sqliteDSN(path, more string) string {
	// synchronous(FULL): in WAL mode NORMAL would lose the last commits in a power
	// cut, and a PUT that was answered must not be lost. secure_delete: what was
	// overwritten or deleted must not be readable in the file.
	const pragmas = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_pragma=secure_delete(ON)"
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: pragmas + "&" + more}
	return u.String()
}

func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, migrations fs.FS) error {
	fail := func(err error) error { return fmt.Errorf("bring the schema up to date: %w", err) }
	p, err := goose.NewProvider(dialect, db, migrations)
	if err != nil {
		return fail(err)
	}
	there, known, err := p.GetVersions(ctx)
	if err != nil {
		return fail(err)
	}
	if there > known {
		return fmt.Errorf("its schema is version %d, made by a newer program: this one knows versions up to %d", there, known)
	}
	for ; there < known; there, err = p.GetDBVersion(ctx) {
		if err != nil {
			return fail(err)
		}
		crashpoint.Before(crashpoint.Schema)
		if _, err := p.UpByOne(ctx); err != nil {
			return fail(err)
		}
		crashpoint.After(crashpoint.Schema)
	}
	return nil
}
