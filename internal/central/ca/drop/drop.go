// Package drop exchanges files with a CA that is on no network: requests go to
// DIR/out, where people take them, and answers come back to DIR/in.
//
// It owns which files there are and when one counts. It must not know who carries
// them, or what the CA does with them.
//
//	DIR/out/ID.csr          a request (PKCS#10 in PEM), whole from the moment it is there
//	DIR/out/manifest.jsonl  a line for each: product, validity, subject, digests
//	DIR/in/ID.p7b, .p7c, .cer   an answer, PEM or DER, matched by its public key
//	DIR/in/ID.refused       a refusal for good; the text is the reason
//	DIR/done/               answers that were taken
//	DIR/ledger.jsonl        every request that was ever given out; never taken away
//
// A file that is missing from in proves nothing about the CA. What proves absence
// is the ledger: a request that is not in it never left this machine. So Lookup
// says found, never given out, or pending.
package drop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
)

// Others of the group may carry the files; they hold names, so nobody else may read them.
const (
	dirMode  = 0o770
	fileMode = 0o640
)

// CA exchanges files in one folder. Its methods are safe for use by many goroutines.
type CA struct {
	cfg  Config
	lock *filelock.Lock

	mu     sync.Mutex
	ledger *ledger
	inbox  *inbox
}

var _ ca.CA = (*CA)(nil)

// Open takes the folder for this process alone, and finishes what a crash left half-done.
func Open(cfg Config) (_ *CA, err error) {
	cfg = cfg.complete()
	fail := func(err error) (*CA, error) { return nil, fmt.Errorf("open the offline CA's folder %s: %w", cfg.Dir, err) }
	lock, err := filelock.Exclusive(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return fail(err)
	}
	c := &CA{cfg: cfg, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, name := range []string{"out", "in", "done"} {
		if err := os.Mkdir(filepath.Join(cfg.Dir, name), dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fail(err)
		}
	}
	if err := ledgerLost(cfg.Dir); err != nil {
		return fail(err)
	}
	if c.ledger, err = openLedger(filepath.Join(cfg.Dir, "ledger.jsonl")); err != nil {
		return fail(err)
	}
	c.inbox = &inbox{dir: filepath.Join(cfg.Dir, "in"), settle: cfg.Settle, log: cfg.Logger}
	halves, err := filepath.Glob(filepath.Join(cfg.Dir, "out", ".*.csr.new"))
	if err != nil {
		return fail(err)
	}
	for _, path := range halves {
		id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "."), ".csr.new")
		if e, known := c.ledger.byID[id]; known {
			err = c.give(e)
		} else {
			err = os.Remove(path) // ours, and never seen by anybody
		}
		if err != nil {
			return fail(err)
		}
	}
	return c, nil
}

// ledgerLost refuses a folder in which requests were given out and nobody knows
// which: they would be given out again.
func ledgerLost(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "ledger.jsonl")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, pattern := range []string{"out/*", "done/*"} {
		found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return fmt.Errorf("ledger.jsonl is missing, and %s is there: restore the ledger, or take an empty folder", found[0])
		}
	}
	return nil
}

// Close gives the folder back.
func (c *CA) Close() error {
	var errs []error
	if c.ledger != nil && c.ledger.file != nil {
		errs = append(errs, c.ledger.file.Close())
	}
	return errors.Join(append(errs, c.lock.Close())...)
}

// CanLookup implements ca.CA.
func (c *CA) CanLookup() bool { return true }

// CanRevoke implements ca.CA.
func (c *CA) CanRevoke() bool { return false }

// Revoke implements ca.CA.
func (c *CA) Revoke(context.Context, ca.Revocation) error {
	return fmt.Errorf("revoke at an offline CA: %w", ca.ErrUnsupported)
}

// Roots implements ca.CA.
func (c *CA) Roots() []*x509.Certificate { return c.cfg.Roots }

// Issue implements ca.CA: gives the request out, once, and looks for the answer.
func (c *CA) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	request, err := csr.ParseRequest(r.CSR)
	if err != nil {
		return ca.Certificate{}, &ca.RefusedError{Reason: err.Error()}
	}
	if !fileName(r.ID) {
		return ca.Certificate{}, &ca.RefusedError{Reason: fmt.Sprintf("the id %q cannot be the name of a file", r.ID)}
	}
	if err := ctx.Err(); err != nil {
		return ca.Certificate{}, fmt.Errorf("issue %s: %w", r.ID, err)
	}
	e := Entry{
		RequestID: r.ID, File: r.ID + ".csr", CSRSHA256: sum(r.CSR), PublicKeySHA256: sum(request.SPKI),
		Product: r.Product, ValidityYears: r.Profile.ValidityYears, Subject: csr.FormatSubject(request.Subject),
		WrittenAt: time.Now().UTC().Truncate(time.Second),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.ledger.byID[r.ID]
	switch other, reused := c.ledger.byKey[e.PublicKeySHA256]; {
	case ok && known.CSRSHA256 != e.CSRSHA256:
		return ca.Certificate{}, &ca.RefusedError{Reason: "another request was given out under id " + r.ID}
	case reused && other.RequestID != r.ID:
		return ca.Certificate{}, &ca.RefusedError{Reason: "the same key was given out under id " + other.RequestID}
	case !ok:
		if err := c.write(e, r.CSR); err != nil {
			return ca.Certificate{}, &ca.PendingError{Reason: fmt.Sprintf("the request was not given out: %v", err)}
		}
	}
	if err := c.give(e); err != nil {
		return ca.Certificate{}, fmt.Errorf("give out request %s: %w", r.ID, err)
	}
	return c.answer(e)
}

// Lookup implements ca.CA.
func (c *CA) Lookup(_ context.Context, id string) (ca.Certificate, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, known := c.ledger.byID[id]
	if !known {
		return ca.Certificate{}, false, nil
	}
	cert, err := c.answer(e)
	return cert, err == nil, err
}

// write has the request in out under a name that nobody takes, and then in the ledger.
func (c *CA) write(e Entry, der []byte) error {
	f, err := os.OpenFile(c.half(e), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(c.half(e)))); err != nil {
		return err
	}
	return c.ledger.add(e)
}

// give lets people see a request that write has written; it does nothing where
// that is done.
func (c *CA) give(e Entry) error {
	if _, err := os.Lstat(c.half(e)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	manifest := filepath.Join(c.cfg.Dir, "out", "manifest.jsonl")
	there, err := inManifest(manifest, e.RequestID)
	if err == nil && !there {
		err = addToManifest(manifest, e)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(c.half(e), filepath.Join(c.cfg.Dir, "out", e.File)); err != nil {
		return err
	}
	return syncDir(filepath.Join(c.cfg.Dir, "out"))
}

func (c *CA) half(e Entry) string { return filepath.Join(c.cfg.Dir, "out", "."+e.File+".new") }

// answer looks for what came back for a request, first where answers were taken to.
func (c *CA) answer(e Entry) (ca.Certificate, error) {
	if err := c.inbox.look(c.ledger); err != nil {
		return ca.Certificate{}, err
	}
	certs, refusal, err := c.taken(e)
	if err != nil {
		return ca.Certificate{}, err
	}
	before := len(certs) > 0 || refusal != ""
	var names []string
	for name, a := range c.inbox.files {
		if !a.read || a.fault != "" || a.entry.RequestID != e.RequestID {
			continue
		}
		names = append(names, name)
		if certs = append(certs, a.certs...); a.refusal {
			refusal = a.reason
		}
	}
	switch {
	case len(certs) > 0 && refusal != "":
		return ca.Certificate{}, fmt.Errorf("the offline CA both issued and refused %s (%s): leave one of the files in %s", e.RequestID, refusal, c.inbox.dir)
	case len(certs) == 0 && refusal == "":
		return ca.Certificate{}, &ca.PendingError{Reason: "the offline CA has not answered " + e.File, After: c.wait()}
	}
	var out ca.Certificate
	if len(certs) > 0 {
		if out, err = ca.Assemble(keyOf(certs, e), certs, c.cfg.Issuers, c.cfg.Roots); err != nil {
			return ca.Certificate{}, fmt.Errorf("answer to %s: %w", e.RequestID, err)
		}
	}
	if !before { // what comes again is the same, and stays where it is
		for _, name := range names {
			if err := c.take(e, name); err != nil {
				return ca.Certificate{}, fmt.Errorf("answer to %s: %w", e.RequestID, err)
			}
		}
	}
	if refusal != "" {
		return ca.Certificate{}, &ca.RefusedError{Reason: refusal}
	}
	return out, nil
}

// wait is until the next look: soon where something has come that has to settle.
func (c *CA) wait() time.Duration {
	for _, a := range c.inbox.files {
		if !a.read {
			return c.cfg.Settle
		}
	}
	return c.cfg.Poll
}

// taken reads the answers that were taken before.
func (c *CA) taken(e Entry) (certs []*x509.Certificate, refusal string, err error) {
	for _, ext := range append(answerExts(), refusedExt) {
		data, err := os.ReadFile(filepath.Join(c.cfg.Dir, "done", e.RequestID+ext))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if ext == refusedExt {
			refusal = parseRefusal(data)
			continue
		}
		more, err := parseAnswer(data)
		if err != nil {
			return nil, "", fmt.Errorf("done/%s%s: %w", e.RequestID, ext, err)
		}
		certs = append(certs, more...)
	}
	return certs, refusal, nil
}

// take moves an answer to done, under the request's id. Nothing there is replaced:
// a second file of that name says the same, and stays.
func (c *CA) take(e Entry, name string) error {
	to := filepath.Join(c.cfg.Dir, "done", e.RequestID+strings.ToLower(filepath.Ext(name)))
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(filepath.Join(c.inbox.dir, name), to); err != nil {
		return err
	}
	delete(c.inbox.files, name)
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(c.inbox.dir))
}

// keyOf is the request's key, from a certificate for it.
func keyOf(certs []*x509.Certificate, e Entry) any {
	for _, c := range certs {
		if keySum(c) == e.PublicKeySHA256 {
			return c.PublicKey
		}
	}
	return nil
}

// fileName says whether an id is one everywhere.
func fileName(id string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
	return id != "" && len(id) <= 128 && id[0] != '.' && strings.Trim(id, allowed) == ""
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// syncDir has names in a folder on disk. Windows writes them by itself.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
