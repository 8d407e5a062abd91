package database

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// TestChanges: a count goes up with whatever may have changed its table, and with nothing else.
func TestChanges(t *testing.T) {
	schema := fstest.MapFS{"00001_first.sql": {Data: []byte("-- +goose Up\nCREATE TABLE a (n BIGINT NOT NULL PRIMARY KEY);\nCREATE TABLE b (n BIGINT NOT NULL PRIMARY KEY);\n")}}
	db := open(t, File(filepath.Join(t.TempDir(), "test.db")), schema)
	undone := errors.New("undone")
	texts := func(texts ...string) func(*Tx) error {
		return func(tx *Tx) error {
			for _, text := range texts {
				if err := tx.Any(t.Context(), "write", text, 7); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for _, row := range []struct {
		name string
		fn   func(*Tx) error
		a, b bool
	}{
		{"insert", texts(`INSERT INTO a (n) VALUES ($1)`), true, false},
		{"update", texts("UPDATE a\n\t\tSET n = n + 1 WHERE n = $1"), true, false},
		{"no row", texts(`UPDATE a SET n = n + 1 WHERE n = $1`), false, false},
		{"both", texts(`INSERT INTO b (n) VALUES ($1)`, `INSERT INTO a (n) VALUES ($1)`), true, true},
		{"from one into the other", texts(`INSERT INTO b (n) SELECT n + $1 FROM a`), true, true},
		{"with a name for it", texts(`WITH some AS (SELECT n FROM b WHERE n = $1) UPDATE a SET n = n + 100 WHERE n IN (SELECT n FROM some)`), true, true},
		{"returning", func(tx *Tx) error {
			var n int64
			return tx.QueryRowContext(t.Context(), `UPDATE b SET n = n + 200 WHERE n = $1 RETURNING n`, 7).Scan(&n)
		}, false, true},
		{"delete", texts(`DELETE FROM a WHERE n > $1`), true, false},
		{"undone", func(tx *Tx) error { return errors.Join(texts(`INSERT INTO a (n) VALUES ($1)`)(tx), undone) }, true, false},
		{"read", func(tx *Tx) error {
			var n int64
			return tx.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM a WHERE n = $1`, 7).Scan(&n)
		}, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, known := db.Changes("a")
			b, _ := db.Changes("b")
			if !known {
				t.Fatal("changes are not counted")
			}
			var during uint64
			err := db.Transact(t.Context(), func(tx *Tx) error {
				err := row.fn(tx)
				during, _ = db.Changes("a")
				return err
			})
			if err != nil && !errors.Is(err, undone) {
				t.Fatal(err)
			}
			if during != a {
				t.Error("counted before it was committed")
			}
			a2, _ := db.Changes("a")
			b2, _ := db.Changes("b")
			if (a2 > a) != row.a || (b2 > b) != row.b {
				t.Errorf("a changed: %v, b changed: %v", a2 > a, b2 > b)
			}
		})
	}
	if _, known := open(t, server(t).Schema("rooms"), schema).Changes("a"); known {
		t.Error("counted where others write too")
	}
}
