package drop_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/catest"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/drop"
)

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, content []byte, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), content, 0o640); err != nil {
		t.Fatal(err)
	}
}

// TestGivenOutOnce: a request that people have taken away is not put there again,
// and one that a crash caught half-way is there once, and in the manifest once.
func TestGivenOutOnce(t *testing.T) {
	t.Parallel()
	const id, csrFile, half = "DROP-001-g1", "DROP-001-g1.csr", ".DROP-001-g1.csr.new"
	rows := []struct {
		name    string
		spoil   func(t *testing.T, dir string)
		there   bool // in out, after the restart
		absent  bool // the request is said never to have left
		ledgers int  // its lines in the ledger after it was asked for again
	}{
		{"taken away", func(t *testing.T, dir string) {
			if err := errors.Join(os.Remove(filepath.Join(dir, "out", csrFile)), os.Remove(filepath.Join(dir, "out", "manifest.jsonl"))); err != nil {
				t.Fatal(err)
			}
		}, false, false, 1},
		{"before the ledger", func(t *testing.T, dir string) {
			write(t, []byte("-----BEGIN CERT"), dir, "out", half)
			write(t, nil, dir, "ledger.jsonl")
			if err := errors.Join(os.Remove(filepath.Join(dir, "out", csrFile)), os.Remove(filepath.Join(dir, "out", "manifest.jsonl"))); err != nil {
				t.Fatal(err)
			}
		}, false, true, 1},
		{"a torn line in the ledger", func(t *testing.T, dir string) {
			ledger := read(t, dir, "ledger.jsonl")
			write(t, ledger[:len(ledger)-9], dir, "ledger.jsonl")
			if err := errors.Join(os.Rename(filepath.Join(dir, "out", csrFile), filepath.Join(dir, "out", half)), os.Remove(filepath.Join(dir, "out", "manifest.jsonl"))); err != nil {
				t.Fatal(err)
			}
		}, false, true, 1},
		{"before the manifest", func(t *testing.T, dir string) {
			if err := errors.Join(os.Rename(filepath.Join(dir, "out", csrFile), filepath.Join(dir, "out", half)), os.Remove(filepath.Join(dir, "out", "manifest.jsonl"))); err != nil {
				t.Fatal(err)
			}
		}, true, false, 1},
		{"after the manifest", func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, "out", csrFile), filepath.Join(dir, "out", half)); err != nil {
				t.Fatal(err)
			}
		}, true, false, 1},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t)
			c := o.open()
			r := give(t, c, id)
			request := read(t, o.dir, "out", csrFile)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			row.spoil(t, o.dir)
			c = o.opened()
			if _, err := os.Stat(filepath.Join(o.dir, "out", csrFile)); (err == nil) != row.there {
				t.Errorf("in out after the restart: %v, want it there: %t", err, row.there)
			}
			_, found, err := c.Lookup(t.Context(), id)
			var pending *ca.PendingError
			if found || (err == nil) != row.absent || err != nil && !errors.As(err, &pending) {
				t.Errorf("looked up: found %t, %v; want absent: %t", found, err, row.absent)
			}
			wantPending(t, c, r)
			if row.there || row.absent {
				if !bytes.Equal(read(t, o.dir, "out", csrFile), request) {
					t.Error("another request lies in out")
				}
				if n := bytes.Count(read(t, o.dir, "out", "manifest.jsonl"), []byte(id+`","file`)); n != 1 {
					t.Errorf("the manifest has it %d times", n)
				}
				wantFiles(t, o.dir, "out", csrFile, "manifest.jsonl")
			} else {
				wantFiles(t, o.dir, "out")
			}
			if n := bytes.Count(read(t, o.dir, "ledger.jsonl"), []byte("\n")); n != row.ledgers {
				t.Errorf("the ledger has %d lines", n)
			}
		})
	}
}

// TestLedgerLost: without it requests would be given out again.
func TestLedgerLost(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name  string
		spoil func(t *testing.T, dir string)
		say   string
	}{
		{"missing", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "ledger.jsonl")); err != nil {
				t.Fatal(err)
			}
		}, "ledger.jsonl is missing"},
		{"spoilt", func(t *testing.T, dir string) {
			write(t, append([]byte("{}\n"), read(t, dir, "ledger.jsonl")...), dir, "ledger.jsonl")
		}, "line 1"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t)
			c := o.open()
			give(t, c, "DROP-001-g1")
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			row.spoil(t, o.dir)
			if c, err := drop.Open(o.cfg); err == nil || !strings.Contains(err.Error(), row.say) {
				t.Errorf("open: %v %v", c, err)
			}
			if found, err := drop.Check(t.Context(), o.cfg); err == nil || !strings.Contains(err.Error(), row.say) {
				t.Errorf("check: %q %v", found, err)
			}
		})
	}
}

// TestWhatIsNotGivenOut: a key twice, and an id that cannot be a file's name.
func TestWhatIsNotGivenOut(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	c := o.opened()
	r := give(t, c, "DROP-001-g1")
	for _, id := range []string{"DROP-002-g1", "", "../x", ".x", "a b", strings.Repeat("x", 129)} {
		other := r
		other.ID = id
		var refused *ca.RefusedError
		if _, err := c.Issue(t.Context(), other); !errors.As(err, &refused) {
			t.Errorf("%q: %v", id, err)
		}
	}
	wantFiles(t, o.dir, "out", "DROP-001-g1.csr", "manifest.jsonl")
}

// TestCheck changes nothing, whether a server works in the folder or not.
func TestCheck(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	check := func(say ...string) {
		t.Helper()
		found, err := drop.Check(t.Context(), o.cfg)
		text := strings.Join(found, "\n")
		for _, want := range say {
			if err != nil || !strings.Contains(text, want) {
				t.Errorf("got %v %q, want %q in it", err, text, want)
			}
		}
	}
	check("is new")
	c := o.open()
	r := give(t, c, "DROP-001-g1")
	check("given out: 1, without an answer: 1")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	o.bring("note.txt", []byte("x"))
	o.bring("a.p7b", o.sign("a", o.requests()[r.ID]).PKCS7)
	check("in/a.p7b answers DROP-001-g1", "in/note.txt will be set aside")
	wantFiles(t, o.dir, "in", "a.p7b", "note.txt")
	c = o.opened()
	if _, err := ask(t, c, r.ID); err != nil {
		t.Fatal(err)
	}
	waitAside(t, o.dir, "note.txt")
	check("given out: 1, without an answer: 0", "Files in aside: 1")
	write(t, o.sign("b", catest.Request(t, "x", false).CSR).PKCS7, o.dir, "done", "stray.p7b") // no request's: not looked at
	check("without an answer: 0")
}
