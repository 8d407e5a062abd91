package provision

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shape is everything that a journal's schema has, by its text.
func shape(t *testing.T, db *sql.DB) (all []string) {
	t.Helper()
	rows, err := db.Query("SELECT type || ' ' || name || ' ' || COALESCE(sql, '') FROM sqlite_master")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// TestEverySchemaMigratesForward: a journal of each earlier version, as that version's files
// made it, becomes by opening what a new one is, and keeps its marker; one of a later version
// is refused and not touched.
func TestEverySchemaMigratesForward(t *testing.T) {
	fresh, _ := openTestJournal(t)
	want := shape(t, fresh.db)
	for version := 1; version <= journalVersion+1; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			old, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			for n := 1; n <= min(version, journalVersion); n++ {
				text, err := journalSchema.ReadFile(fmt.Sprintf("schema_%d.sql", n))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := old.Exec(string(text)); err != nil {
					t.Fatal(err)
				}
			}
			mark := fmt.Sprintf(`PRAGMA user_version = %d; PRAGMA application_id = 4711`, version)
			if _, err := old.Exec(mark); err != nil {
				t.Fatal(err)
			}
			before := shape(t, old)
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := OpenJournal(path)
			if version > journalVersion {
				if err == nil || !strings.Contains(err.Error(), "install that version again") {
					t.Errorf("a later schema: %v", err)
				}
				again, err := sql.Open("sqlite", path)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = again.Close() }()
				if after := shape(t, again); !slices.Equal(after, before) {
					t.Errorf("it was changed:\n%s", strings.Join(after, "\n"))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = j.Close() }()
			if got := shape(t, j.db); !slices.Equal(got, want) {
				t.Errorf("it became\n%s\nand a new one is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			var now, kept int
			if err := j.db.QueryRow("PRAGMA user_version").Scan(&now); err != nil || now != journalVersion {
				t.Errorf("version %d (%v)", now, err)
			}
			if err := j.db.QueryRow("PRAGMA application_id").Scan(&kept); err != nil || kept != 4711 {
				t.Errorf("it is another file: %d (%v)", kept, err)
			}
		})
	}
}
