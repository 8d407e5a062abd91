package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// TestAuditCommands: a record of a working station is verified, shown and exported, and
// each byte of an entry and of the anchor counts.
func TestAuditCommands(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	must := s.must
	if code, _, errOut := s.command("audit", "verify"); code != exitFailure || !strings.Contains(errOut, "no record yet") {
		t.Errorf("before the first run: %d %s", code, errOut)
	}
	s.Central.Order(t, 1)
	must("run", "--drain", "--log", filepath.Join(s.Dir, "log"))
	early := filepath.Join(s.Dir, "early.note")
	must("audit", "export", "--checkpoint", early)
	must("run", "--drain", "--log", filepath.Join(s.Dir, "log"))
	unit := s.Central.Units(t)[0]

	var state recordState
	if err := json.Unmarshal([]byte(must("audit", "verify", "-o", "json", "--against", early)), &state); err != nil {
		t.Fatal(err)
	}
	if state.Entries == 0 || state.Anchored != state.Entries || state.Against == nil || *state.Against >= state.Entries || *state.Against == 0 {
		t.Errorf("audit verify: %+v", state)
	}
	var shown []audit.Entry
	if err := json.Unmarshal([]byte(must("audit", "show", "--unit", unit.UnitId, "-o", "json")), &shown); err != nil {
		t.Fatal(err)
	}
	last := shown[len(shown)-1]
	if shown[0].Kind != audit.KindLease || last.Kind != audit.KindInstalled || last.Hashes["certificate"] != *unit.CertificateSha256 || last.TokenSerial != *unit.TokenSerial {
		t.Errorf("audit show: %+v", shown)
	}
	if out := must("audit", "show"); !strings.Contains(out, "config-change") || !strings.Contains(out, "session") || strings.Contains(out, "示例") {
		t.Errorf("audit show: %s", out)
	}
	exported := must("audit", "export")
	if n := strings.Count(exported, "\n"); int64(n) != state.Entries {
		t.Errorf("%d lines are exported of %d entries", n, state.Entries)
	}

	earlier := 0
	broken := func(what, query string, args ...any) {
		t.Helper()
		db, err := sql.Open("sqlite", filepath.Join(s.Dir, "state", "journal.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		exec := func(query string, args ...any) {
			t.Helper()
			if _, err := db.Exec(query, args...); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
		}
		exec("PRAGMA synchronous = OFF")
		exec("CREATE TABLE kept AS SELECT * FROM record")
		exec("CREATE TABLE kept_anchor AS SELECT * FROM anchor")
		exec(query, args...)
		code, out, errOut := s.command("audit", "verify", "--against", early)
		if code == exitOK && strings.Contains(out, "with a key that it had before") {
			earlier++
		} else if code != exitRecord || out != "" || !strings.Contains(errOut, "the record is broken at entry") {
			t.Errorf("%s: exit code %d, %s%s", what, code, out, errOut)
		}
		for _, q := range []string{"DELETE FROM record", "INSERT INTO record SELECT * FROM kept", "DELETE FROM anchor", "INSERT INTO anchor SELECT * FROM kept_anchor", "DROP TABLE kept", "DROP TABLE kept_anchor"} {
			exec(q)
		}
	}
	for _, n := range []int{1, 4} {
		line := strings.Split(exported, "\n")[n]
		for i := n; i < len(line); i += 3 {
			changed := []byte(line)
			changed[i] ^= 1
			broken(fmt.Sprintf("byte %d of entry %d", i, n), "UPDATE record SET line = $1 WHERE n = $2", string(changed), n)
		}
	}
	broken("the end cut off", "DELETE FROM record WHERE n >= $1", state.Entries-1)
	broken("all of it gone", "DELETE FROM record")
	anchor, err := os.ReadFile(early)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(anchor); i += 7 {
		changed := append([]byte{}, anchor...)
		changed[i] ^= 1
		broken(fmt.Sprintf("byte %d of the anchor", i), "UPDATE anchor SET note = $1", string(changed))
	}
	// A signature holds which key it is by, in four bytes: with others it is taken for one
	// by a key that the station had before, and that is said.
	if earlier > 1 {
		t.Errorf("%d changes are taken for a key of before", earlier)
	}
	must("audit", "verify")

	// Whoever puts back the disk with its anchor is found out by a checkpoint kept elsewhere.
	later := filepath.Join(s.Dir, "later.note")
	must("audit", "export", "--checkpoint", later)
	db, err := sql.Open("sqlite", filepath.Join(s.Dir, "state", "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	for q, args := range map[string][]any{"DELETE FROM record WHERE n >= $1": {*state.Against}, "UPDATE anchor SET note = $1": {string(anchor)}} {
		if _, err := db.Exec(q, args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	must("audit", "verify")
	if code, _, errOut := s.command("audit", "verify", "--against", later); code != exitRecord {
		t.Errorf("put back, against a later checkpoint: %d %s", code, errOut)
	}
	if code, _, errOut := s.command("run", "--drain", "--log", filepath.Join(s.Dir, "log")); code != exitRecord || !strings.Contains(errOut, "record-broken") {
		t.Errorf("put back, and started: exit code %d, %s", code, errOut)
	}
	if code, _, errOut := s.command("audit", "verify", "--against", filepath.Join(s.Dir, "log")); code != exitFailure || !strings.Contains(errOut, "no checkpoint") {
		t.Errorf("against something else: %d %s", code, errOut)
	}
}
