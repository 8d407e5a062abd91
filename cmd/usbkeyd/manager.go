package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/systemd"
)

// statusEvery is how often the service manager hears a new line.
const statusEvery = 10 * time.Second

// manage tells the service manager, where there is one, that the daemon has started, every
// while how it is, and, as long as the agent's loop goes on, that it lives; end says that it
// is on its way out. A manager that cannot be told keeps nobody from work.
func manage(ctx context.Context, post *vitals, manager *systemd.Manager, log *slog.Logger) (end func()) {
	if manager == nil {
		return func() {}
	}
	forget := func(err error) {
		if err != nil {
			log.Warn("the service manager is not told", "error", err)
		}
	}
	forget(manager.Ready())
	every := statusEvery
	if w := manager.Watchdog(); w > 0 {
		every = min(every, w/4)
	}
	// It goes on while the daemon stops: a step that is under way takes its time.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var loop sync.WaitGroup
	loop.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			forget(manager.Status(post.line()))
			// Half of the manager's patience is for the loop, half for us.
			if w := manager.Watchdog(); w > 0 && time.Since(post.agent.Turned()) < w/2 {
				forget(manager.Alive())
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		forget(manager.Stopping())
		stop()
		loop.Wait()
	}
}

// openManager finds the service manager that wants to be told.
func openManager() (*systemd.Manager, error) { return systemd.New(os.Getenv, os.Getpid()) }

// line says how the daemon is to whoever asks the service manager. It has no unit and no person in it.
func (v *vitals) line() string {
	if reasons := v.healthy(); len(reasons) > 0 {
		return "unhealthy: " + reasons[0]
	}
	running, parked := 0, 0
	for _, j := range v.agent.View().Jobs {
		if j.Running {
			running++
		} else {
			parked++
		}
	}
	work := fmt.Sprintf("%d jobs at work, %d waiting", running, parked)
	if reasons := v.ready(); len(reasons) > 0 {
		return "not ready: " + reasons[0] + "; " + work
	}
	return "ready; " + work
}
