package drop

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// write has the request in out under a name that nobody takes, and then in the ledger.
func (c *CA) write(e Entry, der []byte) error {
	f, err := os.OpenFile(c.half(e), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode) // #nosec G302 -- the CA's people read it
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

// finish gives out what a crash left half-given.
func (c *CA) finish() error {
	halves, err := filepath.Glob(filepath.Join(c.cfg.Dir, "out", ".*.csr.new"))
	if err != nil {
		return err
	}
	for _, path := range halves {
		id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "."), ".csr.new")
		if e, known := c.ledger.byID[id]; known {
			err = c.give(e)
		} else {
			err = os.Remove(path) // ours, and never seen by anybody
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inManifest says whether a request's line is in the manifest, which the people
// who carry the requests may take away with them.
func inManifest(path, requestID string) (bool, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for line := range bytes.Lines(data) {
		var e Entry
		if json.Unmarshal(line, &e) == nil && e.RequestID == requestID {
			return true, nil
		}
	}
	return false, nil
}

// addToManifest appends a line, or begins a new manifest.
func addToManifest(path string, e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, fileMode) // #nosec G302 -- the CA's people read it
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}
