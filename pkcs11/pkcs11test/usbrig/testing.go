package usbrig

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
)

// New starts a rig that is gone when the test ends. The daemon's log is shown if the
// test fails.
func New(t testing.TB, readers int) *Rig {
	t.Helper()
	// t.TempDir has longer names than a socket may have.
	dir, err := os.MkdirTemp("", "usbrig-")
	if err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	r, err := Start(t.Context(), dir, readers, &log)
	if err != nil {
		t.Fatal(errors.Join(err, os.RemoveAll(dir)), log.String())
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return r
}

// NewCard makes a card with a maker of its own.
func NewCard(t testing.TB, serial uint32) (*pivcard.Card, *pivcard.Maker) {
	t.Helper()
	maker, err := pivcard.NewMaker()
	if err != nil {
		t.Fatal(err)
	}
	c, err := pivcard.New(serial, maker)
	if err != nil {
		t.Fatal(err)
	}
	return c, maker
}

// logBuffer can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
