package filelock

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// On Unix two open files of one process stand for two processes: flock belongs to the open file.
func TestWhoMayLock(t *testing.T) {
	take := map[string]func(string) (*Lock, error){"shared": Shared, "exclusive": Exclusive}
	for _, row := range []struct {
		first, second string
		held          bool
	}{
		{"shared", "shared", false}, {"shared", "exclusive", true}, {"exclusive", "shared", true}, {"exclusive", "exclusive", true},
	} {
		t.Run(row.first+" then "+row.second, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock")
			first, err := take[row.first](path)
			if err != nil {
				t.Fatal(err)
			}
			second, err := take[row.second](path)
			if errors.Is(err, ErrHeld) != row.held {
				t.Errorf("got %v", err)
			}
			if err == nil {
				if err := second.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			if again, err := Exclusive(path); err != nil {
				t.Errorf("after all were given back: %v", err)
			} else if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWaitExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Shared(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := WaitExclusive(ctx, path); !errors.Is(err, ErrHeld) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is held: %v", err)
	}
	time.AfterFunc(20*time.Millisecond, func() { _ = first.Close() })
	l, err := WaitExclusive(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
