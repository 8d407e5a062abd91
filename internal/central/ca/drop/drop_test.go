package drop_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/catest"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/drop"
)

// offline is a CA on no network, and the person who carries its files.
type offline struct {
	*ca.Development
	t   *testing.T
	dir string
	cfg drop.Config
	log *lines
}

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newOffline(t *testing.T) *offline {
	t.Helper()
	home := filepath.Join(t.TempDir(), "ca")
	d, err := ca.OpenDevelopment(t.Context(), home, ca.DevelopmentRecord(home), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	o := &offline{Development: d, t: t, dir: t.TempDir(), log: &lines{}}
	o.cfg = drop.Config{
		Dir: o.dir, Roots: d.Roots(), Poll: 20 * time.Millisecond, Settle: 20 * time.Millisecond, Patience: 100 * time.Millisecond, Logger: logger(o.log),
	}
	return o
}

func (o *offline) open() *drop.CA {
	o.t.Helper()
	c, err := drop.Open(o.cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// opened is one that is closed when the test ends.
func (o *offline) opened() *drop.CA {
	o.t.Helper()
	c := o.open()
	o.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			o.t.Error(err)
		}
	})
	return c
}

// requests are those that lie in out.
func (o *offline) requests() map[string][]byte {
	o.t.Helper()
	out := make(map[string][]byte)
	paths, err := filepath.Glob(filepath.Join(o.dir, "out", "*.csr"))
	if err != nil {
		o.t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			o.t.Fatal(err)
		}
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
			o.t.Fatalf("%s is not a request in PEM: %s", path, text)
		}
		out[strings.TrimSuffix(filepath.Base(path), ".csr")] = block.Bytes
	}
	return out
}

// sign is a certificate for a request in DER, a new one for each name.
func (o *offline) sign(name string, request []byte) ca.Certificate {
	o.t.Helper()
	c, err := o.Issue(o.t.Context(), ca.Request{ID: name, CSR: request, Profile: ca.UserKey(1)})
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// bring puts a file into in, whole at once.
func (o *offline) bring(name string, content []byte) {
	o.t.Helper()
	part := filepath.Join(o.dir, "in", ".part-"+name)
	if err := errors.Join(os.WriteFile(part, content, 0o640), os.Rename(part, filepath.Join(o.dir, "in", name))); err != nil {
		o.t.Fatal(err)
	}
}

// settle answers every request that lies in out, and takes it away.
func (o *offline) settle(t *testing.T) {
	t.Helper()
	for id, request := range o.requests() {
		o.bring(id+".p7b", o.sign(id, request).PKCS7)
		if err := os.Remove(filepath.Join(o.dir, "out", id+".csr")); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Millisecond) // as a person would, between two looks
}

func logger(l *lines) *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func bundle(t *testing.T, p7 []byte) []*x509.Certificate {
	t.Helper()
	certs, err := csr.ParseBundle(p7)
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

func TestConformance(t *testing.T) {
	t.Parallel()
	catest.Conformance(t, func(t *testing.T) *catest.Fixture {
		o := newOffline(t)
		c := o.open()
		t.Cleanup(func() { _ = c.Close() })
		var mu sync.Mutex
		return &catest.Fixture{
			CA: c,
			Settle: func(t *testing.T) {
				mu.Lock()
				defer mu.Unlock()
				o.settle(t)
			},
			Reopen: func(t *testing.T) ca.CA {
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				c = o.open()
				return c
			},
		}
	})
}

// give has a request given out, and its id for a file's name.
func give(t *testing.T, c *drop.CA, id string) ca.Request {
	t.Helper()
	r := catest.Request(t, id, false)
	wantPending(t, c, r)
	return r
}

func wantPending(t *testing.T, c *drop.CA, r ca.Request) {
	t.Helper()
	var pending *ca.PendingError
	if _, err := c.Issue(t.Context(), r); !errors.As(err, &pending) || pending.After <= 0 {
		t.Fatalf("%s: %v, want pending with a time", r.ID, err)
	}
}

// ask asks until the answer is another than pending.
func ask(t *testing.T, c *drop.CA, id string) (ca.Certificate, error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		got, found, err := c.Lookup(t.Context(), id)
		var pending *ca.PendingError
		if !errors.As(err, &pending) || time.Now().After(deadline) {
			if err == nil && !found {
				t.Fatalf("%s is said to be absent", id)
			}
			return got, err
		}
	}
}

func pemOf(blockType string, parts ...[]byte) []byte {
	var out []byte
	for _, der := range parts {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der})...)
	}
	return out
}

// TestAnswersThatAreTaken is every form in which CAs hand certificates out.
func TestAnswersThatAreTaken(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		file string
		form func(c ca.Certificate, issuer *x509.Certificate) []byte
	}{
		{"PKCS#7 in DER", "DROP-001-g1.p7b", func(c ca.Certificate, _ *x509.Certificate) []byte { return c.PKCS7 }},
		{"PKCS#7 in PEM", "DROP-001-g1.p7c", func(c ca.Certificate, _ *x509.Certificate) []byte { return pemOf("PKCS7", c.PKCS7) }},
		{"a certificate in DER", "DROP-001-g1.cer", func(c ca.Certificate, _ *x509.Certificate) []byte { return c.Leaf.Raw }},
		{"a chain in PEM, the leaf last, with CRLF", "DROP-001-g1.cer", func(c ca.Certificate, issuer *x509.Certificate) []byte {
			return bytes.ReplaceAll(pemOf("CERTIFICATE", issuer.Raw, c.Leaf.Raw), []byte("\n"), []byte("\r\n"))
		}},
		{"another name, in capitals", "ANTWORT 7.P7B", func(c ca.Certificate, _ *x509.Certificate) []byte { return c.PKCS7 }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t)
			issuer := issuerOf(t, o)
			o.cfg.Issuers = []*x509.Certificate{issuer}
			c := o.opened()
			r := give(t, c, "DROP-001-g1")
			signed := o.sign(r.ID, o.requests()[r.ID])
			o.bring(row.file, row.form(signed, issuer))
			got, err := ask(t, c, r.ID)
			if err != nil || !got.Leaf.Equal(signed.Leaf) || !bytes.Equal(got.PKCS7, signed.PKCS7) {
				t.Fatalf("got %v, %v", got.Leaf, err)
			}
			again, err := c.Issue(t.Context(), r)
			if err != nil || !again.Leaf.Equal(signed.Leaf) {
				t.Errorf("asked again: %v", err)
			}
			wantFiles(t, o.dir, "in")
			wantFiles(t, o.dir, "aside")
			wantFiles(t, o.dir, "done", r.ID+strings.ToLower(filepath.Ext(row.file)))
		})
	}
}

// issuerOf is the certificate that signs EC keys.
func issuerOf(t *testing.T, o *offline) *x509.Certificate {
	t.Helper()
	c := o.sign("issuer-of", catest.Request(t, "issuer-of", false).CSR)
	return bundle(t, c.PKCS7)[1]
}

func wantFiles(t *testing.T, dir, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, folder))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("in %s are %q, want %q", folder, got, want)
	}
}
