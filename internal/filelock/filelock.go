// Package filelock locks files between processes. The system drops a lock when the
// process that has it ends, however it ends. It must not know what is locked.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// ErrHeld says that another process has the lock.
var ErrHeld = errors.New("locked by another process")

// Lock is a lock that this process has.
type Lock struct{ f *os.File }

// Close gives the lock back.
func (l *Lock) Close() error { return l.f.Close() }

// Exclusive takes the lock for this process alone; the file is made (0600) if it
// is not there. ErrHeld when another process has it, shared or exclusive.
func Exclusive(path string) (*Lock, error) { return take(path, true) }

// Shared takes the lock beside others that share it. ErrHeld when another process
// has it exclusively.
func Shared(path string) (*Lock, error) { return take(path, false) }

// WaitExclusive is Exclusive once the others are done, until ctx ends.
func WaitExclusive(ctx context.Context, path string) (*Lock, error) {
	for {
		l, err := Exclusive(path)
		if !errors.Is(err, ErrHeld) {
			return l, err
		}
		// Neither system can wait for a lock and for ctx at once.
		t := time.NewTimer(10 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

func take(path string, exclusive bool) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f, exclusive); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return &Lock{f}, nil
}
