package agent

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
)

// TestStatementThatWaits: a statement that cannot be kept holds up no other one and not the
// run, and is made by the next.
func TestStatementThatWaits(t *testing.T) {
	r := newRig(t, 2, time.Minute)
	r.order(2)
	harm := func(query string) {
		t.Helper()
		db, err := sql.Open("sqlite", filepath.Join(r.dir, "journal.db"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Exec(query)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	harm(`CREATE TRIGGER full BEFORE UPDATE ON evidence WHEN OLD.n = (SELECT MIN(n) FROM evidence) BEGIN SELECT RAISE(FAIL, 'full'); END`)
	if summary, err := r.run(t.Context()); err != nil || summary.Finished != 2 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	made := func() (n int) {
		t.Helper()
		for i := range 2 {
			_, der, err := r.journal.Statement(r.units()[i].UnitId)
			if err != nil {
				t.Fatal(err)
			}
			if der != nil {
				n++
			}
		}
		return n
	}
	if n := made(); n != 1 {
		t.Errorf("%d statements are made beside one that waits", n)
	}
	harm("DROP TRIGGER full")
	if _, err := r.run(t.Context()); err != nil || made() != 2 {
		t.Errorf("then %d (%v)", made(), err)
	}
}

// TestProblemCode: an entry of the record has room for words; what another server calls its
// problems must not keep a refusal out of the record.
func TestProblemCode(t *testing.T) {
	for given, want := range map[string]string{
		string(api.ProblemUnitState):         "unit-state",
		"urn:usbkeyd:problem:Über 9000":      "",
		"https://example.test/problems/full": "",
		"about:blank":                        "",
		"urn:usbkeyd:problem:":               "",
	} {
		if got := problemCode(fmt.Errorf("refused: %w", &api.Problem{Type: api.ProblemType(given)})); got != want {
			t.Errorf("%s is recorded as %q, want %q", given, got, want)
		}
	}
	if got := problemCode(errors.New("no problem")); got != "" {
		t.Errorf("another error is recorded as %q", got)
	}
}
