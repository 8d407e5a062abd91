package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
)

// stopHint is how long the service manager is asked to wait: a step that is under way, a key
// generation for example, comes to its end.
const stopHint = 5 * time.Minute

// underManager does the work; managed says that the service manager has started this process,
// and nobody sees what it writes to standard error. The manager wants to be answered at once by
// what it has started, and tells it by a request, not by a signal, to stop. It lets nobody else
// connect.
func underManager(ctx context.Context, work func(ctx context.Context, managed bool) error) error {
	m := &managedWork{ctx: ctx, work: work}
	err := svc.Run("usbkeyd", m)
	if errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
		return work(ctx, false)
	}
	if err != nil {
		return fmt.Errorf("the service manager: %w", err)
	}
	return m.err
}

type managedWork struct {
	ctx  context.Context
	work func(context.Context, bool) error
	err  error
}

// Execute implements svc.Handler.
func (m *managedWork) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	ctx, stop := context.WithCancel(m.ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- m.work(ctx, true) }()
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	for {
		select {
		case m.err = <-ended:
			if m.err == nil {
				return false, 0
			}
			return true, uint32(exitCode(m.err))
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: uint32(stopHint.Milliseconds())}
				stop()
			}
		}
	}
}
