package database

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// Servers on one file see each other's writes and hear each other; one that is lost
// writes nothing more, and the other goes on.
func TestCommon(t *testing.T) {
	common := NewCommon(filepath.Join(t.TempDir(), "test.db"), func(hear func()) { hear() })
	t.Cleanup(func() {
		if err := common.Close(); err != nil {
			t.Error(err)
		}
	})
	one, two := common.Node(), common.Node()
	a, b := open(t, one.Place(), first), open(t, two.Place(), first)
	if !a.Shared() || !b.Shared() {
		t.Error("they believe that they are alone")
	}
	write := func(db *DB, name string) error {
		return db.Transact(t.Context(), func(tx *Tx) error { return insert(t.Context(), tx, name) })
	}
	if err := errors.Join(write(a, "1"), write(b, "2")); err != nil || counts(t, a) != 2 || counts(t, b) != 2 {
		t.Errorf("%d and %d rows, want 2: %v", counts(t, a), counts(t, b), err)
	}

	ctx, stop := context.WithCancel(t.Context())
	heard, ended, ready := make(chan string, 10), make(chan error, 2), make(chan bool)
	for name, db := range map[string]*DB{"a ": a, "b ": b} {
		go func() {
			ended <- db.Listen(ctx, func() { ready <- true }, func(notice string) { heard <- name + notice })
		}()
		<-ready
	}
	if err := a.Notify(t.Context(), "hello"); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "b hello" || len(heard) > 0 {
		t.Errorf("%q and %d more were heard", got, len(heard))
	}
	one.Lose()
	if err := write(a, "3"); !errors.Is(err, errLost) {
		t.Errorf("a lost one writes: %v", err)
	}
	if err := a.Notify(t.Context(), "late"); !errors.Is(err, errLost) || len(heard) > 0 {
		t.Errorf("a lost one is heard: %v", err)
	}
	if err := errors.Join(a.Close(), write(b, "4")); err != nil || counts(t, b) != 3 {
		t.Errorf("%d rows, want 3: %v", counts(t, b), err)
	}
	stop()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
	if err := b.Notify(t.Context(), "nobody"); err != nil || len(heard) > 0 {
		t.Errorf("who has ended still hears: %v", err)
	}
}
