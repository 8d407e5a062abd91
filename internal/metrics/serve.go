package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Checks say what keeps the station from being healthy or ready, a sentence each; none when it is.
type Checks struct {
	// Healthy must answer although whatever it is about is stuck.
	Healthy func() []string
	Ready   func() []string
}

// Handler serves /metrics, /healthz and /readyz. A request for another host than this machine
// is refused, so that no web page reads them through a name of its own.
func (m *Metrics) Handler(c Checks) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", say(c.Healthy))
	mux.HandleFunc("GET /readyz", say(c.Ready))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.Host) {
			http.Error(w, "only for this machine", http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

// loopback reports whether a request's host is this machine by one of its own names.
func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func say(check func() []string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		reasons := check()
		if len(reasons) == 0 {
			_, _ = io.WriteString(w, "ok\n")
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Join(reasons, "\n")+"\n")
	}
}

// Listen opens the port on 127.0.0.1, and on ::1 where there is such an address.
func Listen(ctx context.Context, port int) ([]net.Listener, error) {
	var listen net.ListenConfig
	first, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	second, err := listen.Listen(ctx, "tcp", net.JoinHostPort("::1", strconv.Itoa(first.Addr().(*net.TCPAddr).Port)))
	switch {
	case err == nil:
		return []net.Listener{first, second}, nil
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return []net.Listener{first}, nil
	}
	return nil, errors.Join(fmt.Errorf("metrics: %w", err), first.Close())
}

// Limits of the listener: who asks is a program of this machine.
const (
	headPatience = 5 * time.Second
	endPatience  = 2 * time.Second
	maxHead      = 16 << 10
)

// Serve answers until ctx ends. The error says why it could not go on.
func Serve(ctx context.Context, at []net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headPatience, ReadTimeout: headPatience, WriteTimeout: time.Minute,
		IdleTimeout: time.Minute, MaxHeaderBytes: maxHead,
	}
	ended := make(chan error, len(at))
	var doors sync.WaitGroup
	for _, l := range at {
		doors.Go(func() { ended <- server.Serve(l) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	if server.Shutdown(limited) != nil {
		err = errors.Join(err, server.Close())
	}
	doors.Wait()
	return err
}
