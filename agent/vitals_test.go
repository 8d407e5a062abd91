package agent

import (
	"context"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
)

// TestTurned: the loop that decides goes on every second while there is nothing to do, and
// when it is really held up, here in the middle of making a job, its last turn becomes older
// until it is let go.
func TestTurned(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	r.config.Drain = false
	held, goOn := make(chan struct{}), make(chan struct{})
	label := r.config.Label
	r.config.Label = func(code string) (*csr.Text, error) {
		close(held)
		<-goOn
		return label(code)
	}
	a, ended := r.start(t.Context())
	await(t, "a first turn", func() bool { return !a.Turned().IsZero() })
	await(t, "a session", func() bool { return a.View().Server.Session != "" })
	for range 3 {
		before := a.Turned()
		await(t, "another turn", func() bool { return a.Turned().After(before) })
	}
	r.order(1)
	<-held
	at := a.Turned()
	time.Sleep(2500 * time.Millisecond) // it would have gone on twice
	if now := a.Turned(); !now.Equal(at) {
		t.Errorf("held up since %s, the loop went on at %s", at, now)
	}
	close(goOn)
	await(t, "the loop to go on", func() bool { return a.Turned().After(at) })
	await(t, "the unit", func() bool { return len(r.units()) == 1 && r.units()[0].State == "INSTALLED" })
	if err := ended(); err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// start lets an agent work until the test ends or ended is called.
func (r *rig) start(ctx context.Context) (a *Agent, ended func() error) {
	r.t.Helper()
	pools := r.instances()
	a = New(r.config)
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := a.Run(ctx)
		for _, p := range pools {
			_ = p.Close()
		}
		done <- err
	}()
	return a, func() error {
		stop()
		if err := <-done; err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	}
}
