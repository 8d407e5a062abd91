package centraltest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// LayStore puts an empty store of this version on SQLite into a server's data directory, unless
// there is one: to run all migrations for every server takes longer than most tests. They are
// tried where the store is.
func LayStore(t testing.TB, dataDir string) {
	t.Helper()
	path := filepath.Join(dataDir, storeFile)
	if _, err := os.Stat(path); err == nil {
		return
	}
	content, err := emptyStore()
	if err == nil {
		err = os.MkdirAll(dataDir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// storeFile is the name that a server has for it.
const storeFile = "central.db"

// emptyStore is the file, whole, since a store that was closed leaves no log beside it.
var emptyStore = sync.OnceValues(func() (content []byte, err error) {
	home, err := os.MkdirTemp("", "centraltest")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(home) }()
	path := filepath.Join(home, storeFile)
	if err := MakeStore(database.File(path)); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("the empty store has left a log")
	}
	return os.ReadFile(path)
})

// MakeStore makes an empty store of this version.
func MakeStore(at database.Place) error {
	s, err := store.Open(context.Background(), at, nil, store.Rules{})
	if err != nil {
		return err
	}
	return s.Close()
}
