package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// open makes a file with the table counts.
func open(t *testing.T) *sql.DB {
	t.Helper()
	db := sql.OpenDB(Connector{DSN: filepath.Join(t.TempDir(), "test.db") + "?_txlock=immediate"})
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	return db
}

func insert(ctx context.Context, tx *sql.Tx, name string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO counts (name, n) VALUES ($1, 1)`, name)
	return err
}

func counts(t *testing.T, db *sql.DB) int {
	t.Helper()
	var n int
	if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM counts`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Of transactions that are committed together, those that fail are undone alone and the
// others are all there.
func TestFailedOnesAreUndoneAlone(t *testing.T) {
	db := open(t)
	together := NewTogether(db)
	defer together.Close()
	refused := errors.New("refused")
	gone, leave := context.WithCancel(t.Context())
	leave()
	const n = 40
	transactions := map[*sql.Tx]bool{}
	var jobs []*job
	for i := range n {
		j := &job{ctx: t.Context(), done: make(chan struct{}), fn: func(tx *sql.Tx) error {
			transactions[tx] = true
			if err := insert(t.Context(), tx, fmt.Sprint(i)); err != nil {
				return err
			}
			switch i % 4 {
			case 1:
				return refused
			case 2:
				panic("in a transaction")
			}
			return nil
		}}
		if i%4 == 3 {
			j.ctx = gone
		}
		jobs = append(jobs, j)
	}
	if err := together.commit(jobs); err != nil {
		t.Fatal(err)
	}
	for i, j := range jobs {
		ok := false
		switch i % 4 {
		case 0:
			ok = j.err == nil
		case 1:
			ok = errors.Is(j.err, refused)
		case 2:
			ok = j.err != nil && strings.Contains(j.err.Error(), "panic in a transaction")
		case 3:
			ok = errors.Is(j.err, context.Canceled)
		}
		if !ok {
			t.Errorf("transaction %d ended with %v", i, j.err)
		}
	}
	if got := counts(t, db); got != n/4 {
		t.Errorf("%d rows are there, want %d", got, n/4)
	}
	if len(transactions) != 1 {
		t.Errorf("they took %d commits, want 1", len(transactions))
	}
}

// What cannot be done together is done one by one, and each gets an error of its own.
func TestOneThatEndsTheTransactionHarmsNoOther(t *testing.T) {
	db := open(t)
	together := NewTogether(db)
	defer together.Close()
	var jobs []*job
	for i := range 3 {
		jobs = append(jobs, &job{ctx: t.Context(), done: make(chan struct{}), fn: func(tx *sql.Tx) error {
			if err := insert(t.Context(), tx, fmt.Sprint(i)); err != nil {
				return err
			}
			if i == 1 {
				// As SQLite itself does it when the disk is full.
				_, err := tx.ExecContext(t.Context(), "ROLLBACK")
				return errors.Join(errors.New("the disk is full"), err)
			}
			return nil
		}})
	}
	if err := together.commit(jobs); err == nil {
		t.Fatal("it was committed")
	}
	if got := counts(t, db); got != 0 {
		t.Fatalf("%d rows are there", got)
	}
	var all sync.WaitGroup
	for i, j := range jobs {
		all.Go(func() {
			if err := together.Do(j.ctx, j.fn); (err != nil) != (i == 1) {
				t.Errorf("transaction %d ended with %v", i, err)
			}
		})
	}
	all.Wait()
	if got := counts(t, db); got != 2 {
		t.Errorf("%d rows are there, want 2", got)
	}
}

func TestNoTransactionAfterClose(t *testing.T) {
	together := NewTogether(open(t))
	together.Close()
	if err := together.Do(t.Context(), func(*sql.Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
}

// A text whose rows are still being read may be used again meanwhile.
func TestStatementInUse(t *testing.T) {
	together := NewTogether(open(t))
	defer together.Close()
	err := together.Do(t.Context(), func(tx *sql.Tx) error {
		for _, name := range []string{"a", "b", "c"} {
			if err := insert(t.Context(), tx, name); err != nil {
				return err
			}
		}
		const text = `SELECT name FROM counts WHERE n = $1 ORDER BY name`
		var seen []string
		outer, err := tx.QueryContext(t.Context(), text, 1)
		if err != nil {
			return err
		}
		defer func() { _ = outer.Close() }()
		for outer.Next() {
			var a, b string
			if err := outer.Scan(&a); err != nil {
				return err
			}
			if err := tx.QueryRowContext(t.Context(), text, 1).Scan(&b); err != nil {
				return err
			}
			seen = append(seen, a+b)
		}
		if got := strings.Join(seen, " "); got != "aa ba ca" {
			t.Errorf("read %q", got)
		}
		return outer.Err()
	})
	if err != nil {
		t.Error(err)
	}
}
