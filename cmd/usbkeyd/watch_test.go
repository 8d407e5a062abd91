package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// lines collects output that another goroutine writes.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) events(t *testing.T) []tokenEvent {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []tokenEvent
	for line := range strings.Lines(l.b.String()) {
		var e tokenEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

// TestWatchTokens pulls a token (the module says that it is not there), puts it
// back and crashes the module; each is told within a second, and the watch goes on.
func TestWatchTokens(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	s.Bays[0].InitToken(t, "sample", "12345678", "123456")
	shim := pkcs11test.NewShim(t, s.Bays[0])
	var out lines
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	station, err := config.Load(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	station.Modules[0].Path, station.Modules[0].Env, station.Modules[0].Trust = shim.Path, shim.Env, "owner"
	root := newTokensWatch(streams{in: strings.NewReader(""), out: &out, err: &out}, func() (*config.Station, error) { return station, nil })
	root.SetArgs([]string{"-o", "json"})
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()

	next := 0
	expect := func(event string) {
		t.Helper()
		begun := time.Now()
		stationtest.Eventually(t, event, func() bool { return len(out.events(t)) > next })
		e := out.events(t)[next]
		next++
		if e.Event != event || event != "fault" && event != "note" && e.Label != "sample" {
			t.Fatalf("event %+v, wanted %s", e, event)
		}
		if took := time.Since(begun); event != "note" && event != "present" && took > 3*time.Second {
			t.Errorf("%s was told after %s", event, took)
		}
	}
	expect("note") // it has trust: owner
	expect("present")
	shim.Rules(t, "C_GetTokenInfo return 0xe0")
	expect("removed")
	shim.Rules(t)
	expect("inserted")
	shim.Rules(t, "C_GetSlotList segv")
	expect("fault")
	shim.Rules(t, "C_GetTokenInfo return 0xe0")
	expect("removed")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
