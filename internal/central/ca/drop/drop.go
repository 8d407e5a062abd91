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
//	DIR/aside/              what is no answer, or one too many, each with NAME.why in words
//	DIR/id                  a random name of this folder and its ledger; never taken away
//	DIR/ledger.jsonl        every request that was ever given out; never taken away
//
// A file that is missing from in proves nothing about the CA. What proves absence
// is the ledger: a request that is not in it never left this machine. So Lookup
// says found, never given out, or pending.
package drop

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
)

// Others of the group may carry the files; they hold names, so nobody else may read them.
const (
	dirMode  = 0o770
	fileMode = 0o640
)

// CA exchanges files in one folder. Its methods are safe for use by many goroutines.
type CA struct {
	cfg   Config
	lock  *filelock.Lock
	place string

	mu     sync.Mutex
	ledger *ledger
	inbox  *inbox

	stop chan struct{}
	work sync.WaitGroup
}

var (
	_ ca.CA     = (*CA)(nil)
	_ ca.Placed = (*CA)(nil)
)

// Open takes the folder for this process alone, and finishes what a crash left half-done.
func Open(cfg Config) (_ *CA, err error) {
	cfg = cfg.complete()
	fail := func(err error) (*CA, error) {
		return nil, fmt.Errorf("open the offline CA's folder %s: %w", cfg.Dir, err)
	}
	lock, err := filelock.Exclusive(filepath.Join(cfg.Dir, "lock"))
	if errors.Is(err, filelock.ErrHeld) {
		return fail(errors.New("another server works in it: one folder is for one server"))
	}
	if err != nil {
		return fail(err)
	}
	c := &CA{cfg: cfg, lock: lock, stop: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, name := range []string{"out", "in", "done", "aside"} {
		if err := os.Mkdir(filepath.Join(cfg.Dir, name), dirMode); err != nil && !errors.Is(err, fs.ErrExist) { // #nosec G301 -- the CA's people work in it
			return fail(err)
		}
	}
	if err := ledgerLost(cfg.Dir); err != nil {
		return fail(err)
	}
	if c.place, err = openPlace(filepath.Join(cfg.Dir, "id")); err != nil {
		return fail(err)
	}
	if c.ledger, err = openLedger(filepath.Join(cfg.Dir, "ledger.jsonl")); err != nil {
		return fail(err)
	}
	c.inbox = &inbox{dir: filepath.Join(cfg.Dir, "in"), settle: cfg.Settle}
	if err := c.finish(); err != nil {
		return fail(err)
	}
	c.work.Go(c.watch)
	return c, nil
}

// watch looks at what comes when nobody asks, so that nothing lies there unnoticed.
func (c *CA) watch() {
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.stop:
			return
		}
		c.mu.Lock()
		err := c.look()
		c.mu.Unlock()
		if err != nil {
			c.cfg.Logger.Error("answers of the offline CA cannot be looked at", "error", err)
		}
	}
}

// openPlace reads the folder's name, or gives it one.
func openPlace(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(uuid.NewString())
		err = keyfile.WriteNew(path, keyfile.File{Content: text, Secret: true})
	}
	if err != nil {
		return "", fmt.Errorf("name of the folder: %w", err)
	}
	if err := uuid.Validate(string(text)); err != nil {
		return "", fmt.Errorf("%s does not hold the folder's name: restore the file", path)
	}
	return string(text), nil
}

// Place implements ca.Placed.
func (c *CA) Place() string { return c.place }

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
	close(c.stop)
	c.work.Wait()
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
