package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// hosts are the only names that the page has.
func hosts(port int) []string {
	p := strconv.Itoa(port)
	return []string{net.JoinHostPort("127.0.0.1", p), net.JoinHostPort("::1", p)}
}

// Doors are where the page is entered: both loopback addresses and the Unix socket.
type Doors struct {
	console   *Console
	listeners []net.Listener
	door      *door
}

// Open takes the port and the socket. The error says what is in the way.
func (c *Console) Open(ctx context.Context, socket string) (*Doors, error) {
	listeners, err := listen(ctx, hosts(c.Port))
	if err != nil {
		return nil, err
	}
	door, err := c.openDoor(ctx, socket)
	if err != nil {
		return nil, errors.Join(err, closeAll(listeners))
	}
	c.Log.Info("the operator's page is open", "addresses", len(listeners), "port", c.Port, "socket", socket)
	return &Doors{c, listeners, door}, nil
}

// Serve answers until ctx ends, and closes the doors. The error says why it ended before.
func (d *Doors) Serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{
		Handler: d.console, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(d.console.Log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with it
	}
	ended := make(chan error, len(d.listeners)+1)
	var serving sync.WaitGroup
	for _, l := range d.listeners {
		serving.Go(func() { ended <- server.Serve(l) })
	}
	serving.Go(func() { ended <- d.door.serve(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
		err = fmt.Errorf("the operator's page: %w", err)
	}
	stop()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if shut := server.Shutdown(limited); shut != nil {
		err = errors.Join(err, server.Close())
	}
	err = errors.Join(err, d.door.Close())
	serving.Wait() // nobody begins a talk after this
	d.door.talks.Wait()
	return err
}

// listen takes the port on both loopback addresses, so that nobody else on this machine
// has one of them. A machine without IPv6 has only one.
func listen(ctx context.Context, addresses []string) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", a)
		if len(out) > 0 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the operator's page: %w", err), closeAll(out))
		}
		out = append(out, l)
	}
	return out, nil
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
