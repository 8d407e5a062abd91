package database

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A transaction in which a statement that nobody waited for did not do its work is not
// committed, whatever comes after that statement.
func TestWhatNobodyWaitsForMustBeDone(t *testing.T) {
	onBothEngines(t, testWhatNobodyWaitsForMustBeDone)
}

func testWhatNobodyWaitsForMustBeDone(t *testing.T, at Place) {
	const put = `INSERT INTO counts (name, n) VALUES ($1, $2)`
	ctx := t.Context()
	absent := func(tx *Tx) error {
		return tx.One(ctx, "change what is not there", `UPDATE counts SET n = $2 WHERE name = $1`, "absent", 1)
	}
	twice := func(tx *Tx) error { return tx.One(ctx, "put it again", put, "there", 1) }
	read := func(tx *Tx) error {
		var n int
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM counts WHERE n > $1`, 0).Scan(&n)
	}
	exec := func(tx *Tx) error {
		_, err := tx.ExecContext(ctx, put, "more", 1)
		return err
	}
	later := func(tx *Tx) error { return tx.One(ctx, "put more", put, "more", 1) }
	many := func(tx *Tx) error { return tx.One(ctx, "change them", `UPDATE counts SET n = n + $1`, 1) }
	none := func(*Tx) error { return nil }
	for name, row := range map[string]struct{ bad, after func(*Tx) error }{
		"no row, then the commit":          {absent, none},
		"no row, then a read":              {absent, read},
		"no row, then a write":             {absent, exec},
		"no row, then another such":        {absent, later},
		"two rows, then the commit":        {many, none},
		"an error, then the commit":        {twice, none},
		"an error, then a read":            {twice, read},
		"an error, then a write":           {twice, exec},
		"an error, then another such":      {twice, later},
		"all is well, then it is given up": {later, func(*Tx) error { return errors.New("given up") }},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, at, first)
			if _, err := db.Write.ExecContext(ctx, `DELETE FROM counts`); err != nil {
				t.Fatal(err)
			}
			if _, err := db.Write.ExecContext(ctx, put, "there", 1); err != nil {
				t.Fatal(err)
			}
			err := db.Transact(ctx, func(tx *Tx) error {
				if err := tx.One(ctx, "put first", put, "first", 1); err != nil {
					return err
				}
				// A caller that overlooks an error must not get it committed either.
				bad := row.bad(tx)
				return errors.Join(row.after(tx), bad)
			})
			if err == nil {
				t.Error("it was committed")
			}
			if n := counts(t, db); n != 1 {
				t.Errorf("%d rows are there, want 1", n)
			}
			// The connections are as good as new.
			for range 2 * writers {
				if err := db.Transact(ctx, func(tx *Tx) error { return tx.Any(ctx, "change", `UPDATE counts SET n = $1`, 2) }); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// What is written late is there for the next statement, in its order.
func TestWhatNobodyWaitsForIsSeen(t *testing.T) { onBothEngines(t, testWhatNobodyWaitsForIsSeen) }

func testWhatNobodyWaitsForIsSeen(t *testing.T, at Place) {
	db := open(t, at, first)
	ctx := t.Context()
	err := db.Transact(ctx, func(tx *Tx) error {
		for _, change := range []string{`INSERT INTO counts (name, n) VALUES ($1, 1)`, `UPDATE counts SET n = n + 1 WHERE name = $1`, `UPDATE counts SET n = n * 10 WHERE name = $1`} {
			if err := tx.One(ctx, "change", change, "a"); err != nil {
				return err
			}
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT n FROM counts WHERE name = $1`, "a").Scan(&n); err != nil || n != 20 {
			t.Errorf("read %d, want 20: %v", n, err)
		}
		return tx.One(ctx, "change", `UPDATE counts SET n = 7 WHERE name = $1`, "a")
	})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.Read.QueryRowContext(ctx, `SELECT n FROM counts WHERE name = $1`, "a").Scan(&n); err != nil || n != 7 {
		t.Errorf("read %d, want 7: %v", n, err)
	}
}

// What is asked before it is read has its answers in its order, and sees what was written
// before it. One that fails ends the transaction for all that comes after it.
func TestAskedTogether(t *testing.T) { onBothEngines(t, testAskedTogether) }

func testAskedTogether(t *testing.T, at Place) {
	const put, get = `INSERT INTO counts (name, n) VALUES ($1, $2)`, `SELECT n FROM counts WHERE name = $1`
	db := open(t, at, first)
	ctx := t.Context()
	err := db.Transact(ctx, func(tx *Tx) error {
		if err := tx.One(ctx, "put", put, "a", 1); err != nil {
			return err
		}
		a, b, all := tx.Ask(ctx, get, "a"), tx.Ask(ctx, get, "b"), tx.Ask(ctx, `SELECT name FROM counts ORDER BY name`)
		var n int
		if err := b.Scan(&n); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("there is a row %d of b: %v", n, err)
		}
		if err := a.Scan(&n); err != nil || n != 1 {
			t.Errorf("read %d: %v", n, err)
		}
		rows, err := all.Rows()
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var names []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			names = append(names, name)
		}
		if !slices.Equal(names, []string{"a"}) {
			t.Errorf("there are %v", names)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Transact(ctx, func(tx *Tx) error {
		if err := tx.One(ctx, "put", put, "b", 1); err != nil {
			return err
		}
		bad, good := tx.Ask(ctx, `SELECT n FROM absent`), tx.Ask(ctx, get, "a")
		var n int
		if err := errors.Join(bad.Scan(&n), good.Scan(&n)); err == nil {
			t.Error("a table that is not there was read")
		}
		return tx.One(ctx, "put", `INSERT INTO absent (n) VALUES ($1)`, 1)
	})
	if n := counts(t, db); err == nil || n != 1 {
		t.Errorf("%d rows are there: %v", n, err)
	}
}

// A transaction that asks, decides and writes is on the way to PostgreSQL twice, however
// many statements it has: the beginning goes with what is asked, the commit with what is written.
func TestWaysToPostgres(t *testing.T) {
	at := server(t)
	var sent atomic.Int64
	dial := at.config.DialFunc
	at.config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return counted{c, &sent}, err
	}
	db := open(t, at.Schema("rooms"), first)
	ctx := t.Context()
	db.Write.SetMaxOpenConns(1)
	put := func(name string) (ways int64) {
		before := sent.Load()
		err := db.Transact(ctx, func(tx *Tx) error {
			mine, all := tx.Ask(ctx, `SELECT COUNT(*) FROM counts WHERE name = $1`, name), tx.Ask(ctx, `SELECT COUNT(*) FROM counts`)
			var a, b int
			if err := errors.Join(mine.Scan(&a), all.Scan(&b)); err != nil || tx.Now().IsZero() {
				return err
			}
			return errors.Join(tx.One(ctx, "put", `INSERT INTO counts (name, n) VALUES ($1, $2)`, name, b),
				tx.One(ctx, "change", `UPDATE counts SET n = n + 1 WHERE name = $1`, name))
		})
		if err != nil {
			t.Fatal(err)
		}
		return sent.Load() - before
	}
	put("a") // its statements are prepared
	if n := put("b"); n != 2 {
		t.Errorf("sent %d times, want 2", n)
	}
}

// counted counts what is sent.
type counted struct {
	net.Conn
	sent *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	c.sent.Add(1)
	return c.Conn.Write(b)
}

// However a transaction ends, nothing of it stays and its connection can be used again.
func TestATransactionThatIsCutOff(t *testing.T) { onBothEngines(t, testATransactionThatIsCutOff) }

func testATransactionThatIsCutOff(t *testing.T, at Place) {
	db := open(t, at, first)
	for range 2 * writers {
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Transact(ctx, func(tx *Tx) error {
			if err := insert(ctx, tx, "a"); err != nil {
				return err
			}
			cancel()
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = db.Transact(t.Context(), func(tx *Tx) error {
				if err := insert(t.Context(), tx, "a"); err != nil {
					return err
				}
				panic("in a transaction")
			})
		}()
	}
	if err := db.Transact(t.Context(), func(tx *Tx) error { return insert(t.Context(), tx, "a") }); err != nil {
		t.Error(err)
	}
	if n := counts(t, db); n != 1 {
		t.Errorf("%d rows are there, want 1", n)
	}
}

// The time is the database's, or this process's, of the transaction's beginning.
func TestTimeOfATransaction(t *testing.T) { onBothEngines(t, testTimeOfATransaction) }

func testTimeOfATransaction(t *testing.T, at Place) {
	db := open(t, at, first)
	before, err := db.Now(t.Context(), db.Read)
	if err != nil {
		t.Fatal(err)
	}
	var now time.Time
	err = db.Transact(t.Context(), func(tx *Tx) error {
		now = tx.Now()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := db.Now(t.Context(), db.Read)
	if err != nil {
		t.Fatal(err)
	}
	if now.Before(before) || now.After(after) {
		t.Errorf("%s is not between %s and %s", now, before, after)
	}
}
