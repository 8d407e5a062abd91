package drop_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/catest"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/drop"
)

// waitAside waits until a file is set aside, and gives the reason.
func waitAside(t *testing.T, dir, name string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Lstat(filepath.Join(dir, "aside", name))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not set aside: %v", name, err)
		}
	}
	why, err := os.ReadFile(filepath.Join(dir, "aside", name+".why"))
	if err != nil {
		t.Fatal(err)
	}
	return string(why)
}

// TestWhatIsSetAside: nothing of it is taken for an answer, each with its reason,
// also while nobody asks; and the right answer counts afterwards.
func TestWhatIsSetAside(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, file string
		content    func(t *testing.T, o *offline, request []byte) []byte
		say        string
	}{
		{"half-written", "DROP-001-g1.p7b", func(_ *testing.T, o *offline, r []byte) []byte {
			p7 := o.sign("x", r).PKCS7
			return p7[:len(p7)-10]
		}, "not a whole certificate"},
		{"half-written PEM", "DROP-001-g1.p7b", func(_ *testing.T, o *offline, r []byte) []byte {
			text := pemOf("PKCS7", o.sign("x", r).PKCS7)
			return text[:len(text)-20]
		}, "does not end as it should"},
		{"empty", "DROP-001-g1.p7b", func(*testing.T, *offline, []byte) []byte { return nil }, "not a whole certificate"},
		{"foreign", "notes.txt", func(*testing.T, *offline, []byte) []byte { return []byte("call me") }, "does not end in .p7b"},
		{"a request", "DROP-001-g1.csr", func(_ *testing.T, _ *offline, r []byte) []byte { return r }, "does not end in .p7b"},
		{"a private key", "DROP-001-g1.cer", func(*testing.T, *offline, []byte) []byte { return pemOf("PRIVATE KEY", []byte("x")) }, `a PEM block of type "PRIVATE KEY"`},
		{"for a key that nobody asked for", "DROP-001-g1.p7b", func(t *testing.T, o *offline, _ []byte) []byte {
			return o.sign("x", catest.Request(t, "STRANGER", false).CSR).PKCS7
		}, "no certificate for a key that was asked for"},
		{"for the key of another request", "DROP-001-g1.p7b", func(_ *testing.T, o *offline, _ []byte) []byte {
			return o.sign("x", o.requests()["DROP-002-g1"]).PKCS7
		}, "for the key of DROP-002-g1"},
		{"for two requests at once", "both.cer", func(_ *testing.T, o *offline, r []byte) []byte {
			return pemOf("CERTIFICATE", o.sign("x", r).Leaf.Raw, o.sign("y", o.requests()["DROP-002-g1"]).Leaf.Raw)
		}, "one file for one request"},
		{"a refusal of nothing", "DROP-009-g1.refused", func(*testing.T, *offline, []byte) []byte { return []byte("no") }, "no request of this name"},
		{"10 MB", "DROP-001-g1.p7b", func(*testing.T, *offline, []byte) []byte { return make([]byte, 10<<20) }, "larger than"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t)
			c := o.opened()
			r := give(t, c, "DROP-001-g1")
			give(t, c, "DROP-002-g1")
			request := o.requests()[r.ID]
			o.bring(row.file, row.content(t, o, request))
			if why := waitAside(t, o.dir, row.file); !strings.Contains(why, row.say) || strings.Count(why, "\n") != 1 {
				t.Errorf("the reason is %q, want %q in it", why, row.say)
			}
			wantPending(t, c, r) // which ends after the look that set it aside
			if !strings.Contains(o.log.String(), row.file) {
				t.Errorf("the log does not tell: %s", o.log)
			}
			wantFiles(t, o.dir, "in")
			wantFiles(t, o.dir, "done")
			signed := o.sign("right", request)
			o.bring(r.ID+".p7b", signed.PKCS7)
			if got, err := ask(t, c, r.ID); err != nil || !got.Leaf.Equal(signed.Leaf) {
				t.Errorf("the right answer afterwards: %v", err)
			}
		})
	}
}

// TestComesTwice: after the first answer, nothing changes what was said.
func TestComesTwice(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, first, second string // "same", "other" and "refusal"
		say                 string
		alarm               bool
	}{
		{"the same certificate", "same", "same", "brings again", false},
		{"another certificate", "same", "other", "a second certificate", true},
		{"a refusal after a certificate", "same", "refusal", "ask the CA which", true},
		{"a certificate after a refusal", "refusal", "same", "have that certificate revoked", true},
		{"a refusal again", "refusal", "refusal", "was refused before", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t)
			c := o.opened()
			r := give(t, c, "DROP-001-g1")
			request := o.requests()[r.ID]
			bring := func(what, name string) {
				if what == "refusal" {
					o.bring(r.ID+".refused", []byte("the company\r\nis on a list\n"))
				} else {
					o.bring(name+".p7b", o.sign(what, request).PKCS7)
				}
			}
			check := func() {
				t.Helper()
				got, err := ask(t, c, r.ID)
				var refused *ca.RefusedError
				if row.first == "refusal" && (!errors.As(err, &refused) || refused.Reason != "the company is on a list") {
					t.Errorf("got %v, want the refusal", err)
				}
				if row.first == "same" && (err != nil || !got.Leaf.Equal(o.sign("same", request).Leaf)) {
					t.Errorf("got %v, want the first certificate", err)
				}
			}
			bring(row.first, "first")
			check()
			bring(row.second, "second")
			name := "second.p7b"
			if row.second == "refusal" {
				name = r.ID + ".refused"
			}
			if why := waitAside(t, o.dir, name); !strings.Contains(why, row.say) {
				t.Errorf("the reason is %q, want %q in it", why, row.say)
			}
			check()
			if alarm := strings.Contains(o.log.String(), "ALARM"); alarm != row.alarm {
				t.Errorf("an alarm: %t, want %t: %s", alarm, row.alarm, o.log)
			}
		})
	}
}

// TestTwoAnswersAtOnce: neither is taken before a person has chosen.
func TestTwoAnswersAtOnce(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	c := o.open()
	r := give(t, c, "DROP-001-g1")
	request := o.requests()[r.ID]
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	o.bring("a.p7b", o.sign("a", request).PKCS7)
	o.bring("b.p7b", o.sign("b", request).PKCS7)
	c = o.opened()
	var twice *ca.TwiceError
	if _, err := ask(t, c, r.ID); !errors.As(err, &twice) || len(twice.Serials) != 2 {
		t.Fatalf("got %v, want both certificates", err)
	}
	wantFiles(t, o.dir, "done")
	o.bring(r.ID+".refused", []byte("no"))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		_, err := ask(t, c, r.ID)
		if err != nil && strings.Contains(err.Error(), "both issued and refused") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a refusal beside them: %v", err)
		}
	}
	for _, name := range []string{"a.p7b", r.ID + ".refused"} {
		if err := os.Remove(filepath.Join(o.dir, "in", name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ask(t, c, r.ID); err != nil || !got.Leaf.Equal(o.sign("b", request).Leaf) {
		t.Errorf("after the choice: %v", err)
	}
}

// TestSlowCopy: a file that grows is not read before it has stood still, and
// patience ends only with a file that does not grow any more.
func TestSlowCopy(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.cfg.Patience = 2 * time.Second
	c := o.opened()
	r := give(t, c, "DROP-001-g1")
	signed := o.sign(r.ID, o.requests()[r.ID])
	f, err := os.Create(filepath.Join(o.dir, "in", r.ID+".p7b"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for half := range 2 {
		n := len(signed.PKCS7) / 2
		part := signed.PKCS7[half*n:]
		if half == 0 {
			part = part[:n]
		}
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
		if half == 0 { // long enough to be read as it is
			time.Sleep(5 * o.cfg.Settle)
			wantPending(t, c, r)
		}
	}
	if got, err := ask(t, c, r.ID); err != nil || !got.Leaf.Equal(signed.Leaf) {
		t.Errorf("after the rest: %v", err)
	}
	wantFiles(t, o.dir, "aside")
}

// TestLinksAreNotFollowed: an answer is a file in the folder, not what somebody
// points to elsewhere.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	c := o.opened()
	r := give(t, c, "DROP-001-g1")
	elsewhere := filepath.Join(t.TempDir(), "answer.p7b")
	write(t, o.sign(r.ID, o.requests()[r.ID]).PKCS7, elsewhere)
	if err := os.Symlink(elsewhere, filepath.Join(o.dir, "in", r.ID+".p7b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(o.dir, "in", "folder"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{r.ID + ".p7b", "folder"} {
		if why := waitAside(t, o.dir, name); !strings.Contains(why, "not a regular file") {
			t.Errorf("%s: the reason is %q", name, why)
		}
	}
	wantPending(t, c, r)
}

// TestOneFolderOneServer: a second one would give out what the first has.
func TestOneFolderOneServer(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.opened()
	if _, err := drop.Open(o.cfg); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("got %v", err)
	}
}
