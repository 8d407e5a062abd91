//go:build !windows

package worker_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// TestTheLockIsHeldForLife: however often a child collects its garbage, the lock of
// its instance stays held until it ends.
func TestTheLockIsHeldForLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	p := start(t, worker.Spec{Trust: worker.TrustUnchecked, Path: probePath, Lock: path})
	for range 5 {
		if _, err := p.Slots(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if lock, err := filelock.Exclusive(path); !errors.Is(err, filelock.ErrHeld) {
		t.Fatalf("the lock of a living child can be taken: %v, %v", lock, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := filelock.Exclusive(path)
	if err != nil {
		t.Fatalf("after the child: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}
