package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

const (
	// writers and readers are how many connections one process opens at most for each
	// schema. More would only queue in another place.
	writers = 8
	readers = 4
	// migrationLock is the key of the advisory lock that lets one process at a time
	// migrate: the ASCII of "usbkeyct".
	migrationLock = 0x7573626b65796374
	// oldestVersion is the oldest PostgreSQL that this is tested with, as its server_version_num.
	oldestVersion = 150000
)

// Postgres is a PostgreSQL database that a server may use. It prints without its password.
type Postgres struct{ config *pgx.ConnConfig }

// ParsePostgres reads a URL, postgres://user@host/database?sslmode=verify-full; what
// it leaves out comes from libpq's environment variables and password file. An
// error never holds the URL, which may hold a password.
func ParsePostgres(text string) (Postgres, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return Postgres{}, errors.New("a store's URL looks like postgres://user@host/database")
	}
	c, err := pgx.ParseConfig(text)
	var inURL *url.Error
	switch cause := errors.Unwrap(err); {
	case err == nil:
		return Postgres{c}, nil
	case cause == nil || errors.As(cause, &inURL):
		return Postgres{}, errors.New("the store's URL cannot be read; it looks like postgres://user@host/database, with %XX for special characters in a password")
	default:
		return Postgres{}, fmt.Errorf("the store's URL cannot be used: %w", cause)
	}
}

// HasPassword says whether a URL itself holds a password.
func HasPassword(text string) bool {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return false
	}
	_, set := u.User.Password()
	return set || u.Query().Has("password")
}

// Given says whether there is a database at all.
func (p Postgres) Given() bool { return p.config != nil }

// Schema is a place in the database; whatever has tables has a schema of its own.
func (p Postgres) Schema(name string) Place { return Place{server: p, schema: name} }

// String names the database for people.
func (p Postgres) String() string {
	if p.config == nil {
		return "no PostgreSQL database"
	}
	host := p.config.Host
	if !strings.HasPrefix(host, "/") {
		host = net.JoinHostPort(host, strconv.Itoa(int(p.config.Port)))
	}
	return fmt.Sprintf("PostgreSQL database %s at %s", p.config.Database, host)
}

// GoString keeps the password out of %#v.
func (p Postgres) GoString() string { return p.String() }

// MarshalText keeps it out of JSON and of logs.
func (p Postgres) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// with is a configuration with these settings of the session.
func (p Postgres) with(settings map[string]string) pgx.ConnConfig {
	c := p.config.Copy()
	for name, value := range settings {
		c.RuntimeParams[name] = value
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "usbkey-central"
	}
	if c.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		c.DescriptionCacheCapacity = 0 // which is the other mode's; every connection has room for 512
	}
	return *c
}

func (p Postgres) pool(connections int, settings map[string]string) *sql.DB {
	db := stdlib.OpenDB(p.with(settings))
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db
}

func openPostgres(ctx context.Context, at Place, migrations fs.FS) (*DB, error) {
	if !at.server.Given() {
		return nil, errors.New("no place is given")
	}
	db := &DB{
		Engine: PostgreSQL,
		server: at.server,
		Write: at.server.pool(writers, map[string]string{
			"search_path": at.schema,
			// A node that hangs or loses its power in a transaction must not keep rows from the others.
			"idle_in_transaction_session_timeout": "30s",
		}),
		Read: Reader{DB: at.server.pool(readers, map[string]string{"search_path": at.schema, "default_transaction_read_only": "on"})},
	}
	if err := db.prepare(ctx, at.schema, migrations); err != nil {
		return nil, errors.Join(at.server.explain(err), db.Close())
	}
	return db, nil
}

// prepare makes the schema and its tables, one process at a time.
func (db *DB) prepare(ctx context.Context, schema string, migrations fs.FS) (err error) {
	conn, err := db.Write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var version, durable string
	var number int
	err = conn.QueryRowContext(ctx, `SELECT current_setting('server_version'), CAST(current_setting('server_version_num') AS INTEGER), current_setting('synchronous_commit')`).
		Scan(&version, &number, &durable)
	if err != nil {
		return err
	}
	if number < oldestVersion {
		return fmt.Errorf("PostgreSQL %s runs there: %d or newer is needed", version, oldestVersion/10000)
	}
	if durable == "off" {
		return errors.New("synchronous_commit is off there, so what was answered could be lost in a power cut: turn it on")
	}
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return fmt.Errorf("wait for others that migrate: %w", err)
	}
	defer func() {
		_, unlockErr := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrationLock))
		err = errors.Join(err, unlockErr)
	}()
	// IF NOT EXISTS alone wants the right to make schemas even where it is there.
	var there bool
	if err := conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)`, schema).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := conn.ExecContext(ctx, `CREATE SCHEMA `+pgx.Identifier{schema}.Sanitize()); err != nil {
			return fmt.Errorf("make schema %s: %w", schema, err)
		}
	}
	return migrate(ctx, goose.DialectPostgres, db.Write, migrations)
}

// holds says whether a schema has tables. One that is empty was only just begun.
func (p Postgres) holds(ctx context.Context, schema string) (there bool, err error) {
	db := p.pool(1, map[string]string{"default_transaction_read_only": "on"})
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = $1)`, schema).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for tables in %s: %w", p.Schema(schema), p.explain(err))
	}
	return there, nil
}

// explain says what whoever runs the server can do about an error. The codes are
// those of PostgreSQL's documentation, appendix A.
func (p Postgres) explain(err error) error {
	var said *pgconn.PgError
	var connect *pgconn.ConnectError
	hint := ""
	switch {
	case errors.As(err, &said):
		switch said.Code {
		case "28P01", "28000": // invalid_password, invalid_authorization_specification
			hint = "check user and password of the store's URL, and pg_hba.conf"
		case "3D000": // invalid_catalog_name
			hint = "make the database: createdb " + p.config.Database
		case "42501": // insufficient_privilege
			hint = fmt.Sprintf("give the user its rights: GRANT CREATE, CONNECT ON DATABASE %s TO %s",
				pgx.Identifier{p.config.Database}.Sanitize(), pgx.Identifier{p.config.User}.Sanitize())
		case "25006": // read_only_sql_transaction
			hint = "name the primary server, not a standby"
		case "53300": // too_many_connections
			hint = "raise max_connections"
		}
	case errors.As(err, &connect):
		hint = "check that PostgreSQL runs there, and the store's URL"
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, hint)
}
