package database

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
)

var first = fstest.MapFS{"00001_first.sql": {Data: []byte("-- +goose Up\nCREATE TABLE counts (name TEXT NOT NULL PRIMARY KEY, n BIGINT NOT NULL);\n")}}

func server(t *testing.T) Postgres {
	t.Helper()
	p, err := ParsePostgres(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func onBothEngines(t *testing.T, test func(t *testing.T, at Place)) {
	t.Run("SQLite", func(t *testing.T) { test(t, File(filepath.Join(t.TempDir(), "test.db"))) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, server(t).Schema("rooms")) })
}

func open(t *testing.T, at Place, migrations fs.FS) *DB {
	t.Helper()
	db, err := Open(t.Context(), at, migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Servers that start together migrate one after the other.
func TestManyOpenAtOnce(t *testing.T) {
	at := server(t).Schema("rooms")
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			db, err := Open(t.Context(), at, first)
			if err == nil {
				err = db.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestANewerSchemaIsRefused(t *testing.T) { onBothEngines(t, testANewerSchemaIsRefused) }

func testANewerSchemaIsRefused(t *testing.T, at Place) {
	newer := fstest.MapFS{"00002_second.sql": {Data: []byte("-- +goose Up\nCREATE TABLE more (n BIGINT);\n")}}
	for name, f := range first {
		newer[name] = f
	}
	open(t, at, newer)
	db, err := Open(t.Context(), at, first)
	if err == nil {
		_ = db.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "version 2, made by a newer program") {
		t.Errorf("got %v", err)
	}
}

// What cannot be written in an order with others is tried again: nothing is lost.
func TestTransactTriesAgain(t *testing.T) { onBothEngines(t, testTransactTriesAgain) }

func testTransactTriesAgain(t *testing.T, at Place) {
	db := open(t, at, first)
	const writers, times = 4, 10
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range times {
				err := db.Transact(t.Context(), func(tx *Tx) error {
					var n int
					err := tx.QueryRowContext(t.Context(), `SELECT n FROM counts WHERE name = 'a'`).Scan(&n)
					if errors.Is(err, sql.ErrNoRows) {
						_, err = tx.ExecContext(t.Context(), `INSERT INTO counts (name, n) VALUES ('a', 1)`)
						return err
					}
					if err != nil {
						return err
					}
					res, err := tx.ExecContext(t.Context(), `UPDATE counts SET n = $1 WHERE name = 'a' AND n = $2`, n+1, n)
					if err != nil {
						return err
					}
					if changed, err := res.RowsAffected(); err != nil || changed == 0 {
						return errors.Join(err, ErrAgain)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var n int
	if err := db.Read.QueryRowContext(t.Context(), `SELECT n FROM counts WHERE name = 'a'`).Scan(&n); err != nil || n != writers*times {
		t.Errorf("counted to %d, want %d: %v", n, writers*times, err)
	}
}

func TestReadRefusesToWrite(t *testing.T) { onBothEngines(t, testReadRefusesToWrite) }

func testReadRefusesToWrite(t *testing.T, at Place) {
	db := open(t, at, first)
	if _, err := db.Read.ExecContext(t.Context(), `INSERT INTO counts (name, n) VALUES ('a', 1)`); err == nil {
		t.Error("it was written")
	}
}

// Notices reach those who listen on the same database, and nobody on another.
func TestNotices(t *testing.T) {
	p := server(t)
	one, two, other := open(t, p.Schema("rooms"), first), open(t, p.Schema("rooms"), first), open(t, server(t).Schema("rooms"), first)
	ctx, stop := context.WithCancel(t.Context())
	heard, ended := make(chan string, 10), make(chan error, 2)
	var ready sync.WaitGroup
	for _, db := range []*DB{two, other} {
		ready.Add(1)
		go func() {
			ended <- db.Listen(ctx, ready.Done, func(notice string) { heard <- fmt.Sprint(db == two, " ", notice) })
		}()
	}
	ready.Wait()
	if err := one.Notify(t.Context(), "hello"); err != nil {
		t.Fatal(err)
	}
	if err := other.Notify(t.Context(), "end"); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{<-heard: true, <-heard: true}
	if !got["true hello"] || !got["false end"] {
		t.Errorf("heard %v", got)
	}
	stop()
	for range 2 {
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("still listening")
		}
	}
}

// Each ends in one error that says what to do, without the password.
func TestDatabaseThatCannotBeUsed(t *testing.T) {
	const password = "geheim-0815"
	good := pgtest.Database(t)
	weak := "weak" + strings.ReplaceAll(uuid.NewString(), "-", "")
	admin := open(t, server(t).Schema("rooms"), first)
	if _, err := admin.Write.ExecContext(t.Context(), "CREATE ROLE "+weak+" LOGIN"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db, err := sql.Open("pgx", good)
		if err == nil {
			_, err = db.ExecContext(context.Background(), "DROP ROLE "+weak)
			err = errors.Join(err, db.Close())
		}
		if err != nil {
			t.Error(err)
		}
	})
	rows := []struct{ name, url, want string }{
		{"nothing", "", "looks like postgres://"},
		{"another scheme", "mysql://u:" + password + "@127.0.0.1/d", "looks like postgres://"},
		{"cannot be read", "postgres://u:" + password + "%@127.0.0.1/d", "percent-encoded"},
		{"no server there", "postgres://u:" + password + "@127.0.0.1:1/d?sslmode=disable", "check that PostgreSQL runs there"},
		{"a setting that is none", "postgres://u:" + password + "@127.0.0.1/d?sslmode=nonsense", "sslmode"},
		{"no such database", strings.Replace(good, "/t", "/absent-t", 1), "make the database: createdb absent-t"},
		{"no such user", strings.Replace(good, "postgres@", "nobody-here:"+password+"@", 1), "check user and password"},
		{"a user without rights", strings.Replace(good, "postgres@", weak+":"+password+"@", 1), "GRANT CREATE, CONNECT ON DATABASE"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p, err := ParsePostgres(row.url)
			if err == nil {
				var db *DB
				if db, err = Open(t.Context(), p.Schema("rooms"), first); err == nil {
					_ = db.Close()
				}
			}
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), password) {
				t.Errorf("got %v\nwant one that says %q", err, row.want)
			}
		})
	}
}

// Without synchronous commits an answer would be given before the write is on disk.
func TestAnswersMustBeDurable(t *testing.T) {
	p, err := ParsePostgres(pgtest.Database(t) + "&synchronous_commit=off")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), p.Schema("rooms"), first); err == nil || !strings.Contains(err.Error(), "turn it on") {
		t.Errorf("got %v", err)
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	p, err := ParsePostgres("postgres://u:geheim-0815@127.0.0.1/d")
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("store", "at", p, "place", p.Schema("rooms"))
	text, err := json.Marshal(map[string]any{"at": p})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %s %s", p, p, p, p.Schema("rooms"), text, logged.String())
	if strings.Contains(all, "geheim-0815") {
		t.Error(all)
	}
	if !strings.Contains(all, "PostgreSQL database d at 127.0.0.1:5432") {
		t.Error(all)
	}
}

func insert(ctx context.Context, tx *Tx, name string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO counts (name, n) VALUES ($1, 1)`, name)
	return err
}

func counts(t *testing.T, db *DB) int {
	t.Helper()
	var n int
	if err := db.Read.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM counts`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// What would fail the same way again is told from what passes.
func TestLasting(t *testing.T) { onBothEngines(t, testLasting) }

func testLasting(t *testing.T, at Place) {
	db := open(t, at, first)
	write := func(query string, args ...any) error {
		return db.Transact(t.Context(), func(tx *Tx) error {
			_, err := tx.ExecContext(t.Context(), query, args...)
			return err
		})
	}
	const insert = `INSERT INTO counts (name, n) VALUES ($1, 1)`
	if err := write(insert, "a"); err != nil {
		t.Fatal(err)
	}
	if err := write(insert, "a"); !Lasting(err) {
		t.Errorf("the same name again: %v", err)
	}
	if err := write(insert, nil); !Lasting(err) {
		t.Errorf("no name: %v", err)
	}
	if err := write(insert, "a\x00"); (err != nil) != Lasting(err) || (err != nil) != (db.Engine == PostgreSQL) {
		t.Errorf("no text: %v", err)
	}
	if err := write(`INSERT INTO elsewhere (name) VALUES ($1)`, "a"); err == nil || Lasting(err) {
		t.Errorf("no table: %v", err)
	}
	if Lasting(nil) || Lasting(context.DeadlineExceeded) {
		t.Error("nothing, and what took too long, are lasting")
	}
}
