package centraltest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// LayCA puts the keys and certificates of a development CA into dir, unless there is one: to make
// RSA keys for every server takes longer than most tests. It is the same CA in every test of a
// binary: a test that wants two must let a server make its own.
func LayCA(t testing.TB, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err == nil {
		return
	}
	files, err := hierarchies()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(dir), 0o700)
	}
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// hierarchies is what such a CA keeps in files, by name.
var hierarchies = sync.OnceValues(func() (map[string][]byte, error) {
	home, err := os.MkdirTemp("", "centraltest")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(home) }()
	dir := filepath.Join(home, "ca")
	d, err := ca.OpenDevelopment(context.Background(), dir, ca.DevelopmentRecord(dir), time.Now)
	if err != nil {
		return nil, err
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, pattern := range []string{"*.pem", "*.key"} {
		paths, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			if files[p], err = os.ReadFile(filepath.Join(dir, p)); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
})
