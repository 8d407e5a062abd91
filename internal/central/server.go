package central

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/api/stationserver"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/contract"
	"github.com/usbkeyd/usbkeyd/internal/central/stationroot"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// Server is the central server: opened by New, working between Start and Close.
type Server struct {
	cfg         Config
	store       *store.Store
	ca          ca.CA
	caDigest    string // by which the store knows the CA
	stationRoot *stationroot.Root
	adminToken  string
	issuer      *issuer
	revoker     *revoker
	// ready rings when a unit may be claimed, changed when one got its certificate or not.
	ready      *shared[*queue]
	changed    *shared[*bell]
	neighbours *neighbours
	claims     *claimFlights
	strangers  chan struct{} // see admit
	ageing     sync.Mutex    // held while the age grows
	// stopping is done when Close begins, so that long polls end.
	stopping context.Context
	stop     context.CancelFunc

	connected   atomic.Int64                    // see Connected
	certificate atomic.Pointer[tls.Certificate] // what stations are shown, see RenewCertificate

	stationListener, adminListener net.Listener
	stationHTTP, adminHTTP         *http.Server
	failed                         chan error
	background                     sync.WaitGroup
	closeOnce                      sync.Once
	closeErr                       error
	closers                        []func() error
}

// New opens or creates everything in the data directory and begins to listen;
// requests are answered after Start. Whoever gets a Server must Close it.
func New(ctx context.Context, cfg Config) (srv *Server, err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, ready: newShared("ready", newQueue()), changed: newShared("changed", newBell()), claims: newClaimFlights(), strangers: make(chan struct{}, strangersAtOnce), failed: make(chan error, 3)}
	s.stopping, s.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeAll())
		}
	}()
	if err := s.openData(ctx); err != nil {
		return nil, err
	}
	if err := s.openListeners(ctx); err != nil {
		return nil, err
	}
	self := uuid.NewString()
	s.neighbours = &neighbours{store: s.store, self: self, bells: []neighbourly{s.ready.neighbourly(), s.changed.neighbourly()}}
	s.revoker = newRevoker(s)
	s.issuer = newIssuer(s.store, s.ca, s.cfg, store.Issuer{Server: self, CA: s.caDigest}, s.changed)
	age, err := s.store.Age(ctx)
	s.issuer.wary = age.EpochFloor > 0 && s.ca.CanLookup()
	return s, err
}

func (s *Server) openListeners(ctx context.Context) error {
	if err := s.RenewCertificate(); err != nil {
		return err
	}
	rules, err := contract.Load()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	if s.stationListener, err = lc.Listen(ctx, "tcp", s.cfg.StationAddr); err != nil {
		return fmt.Errorf("listen for stations: %w", err)
	}
	s.closers = append(s.closers, closeListener(s.stationListener))
	if s.adminListener, err = lc.Listen(ctx, "tcp", s.cfg.AdminAddr); err != nil {
		return fmt.Errorf("listen for administration: %w", err)
	}
	s.closers = append(s.closers, closeListener(s.adminListener))
	if addr, ok := s.adminListener.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
		return fmt.Errorf("the administration address %s is not on the loopback", s.adminListener.Addr())
	}

	stations := newRouter(rules, s.stationPolicies(), s.authenticateStation)
	stationserver.HandlerWithOptions(
		stationserver.NewStrictHandlerWithOptions(&stationAPI{s}, nil, stationserver.StrictHTTPServerOptions{RequestErrorHandlerFunc: failDecode, ResponseErrorHandlerFunc: fail}),
		stationserver.StdHTTPServerOptions{BaseURL: basePath, BaseRouter: stations, ErrorHandlerFunc: failDecode})
	admin := newRouter(rules, s.adminPolicies(), s.authenticateAdmin)
	adminserver.HandlerWithOptions(
		adminserver.NewStrictHandlerWithOptions(&adminAPI{s}, nil, adminserver.StrictHTTPServerOptions{RequestErrorHandlerFunc: failDecode, ResponseErrorHandlerFunc: fail}),
		adminserver.StdHTTPServerOptions{BaseURL: basePath, BaseRouter: admin, ErrorHandlerFunc: failDecode})
	if err := errors.Join(stations.finish(), admin.finish()); err != nil {
		return err
	}

	s.stationHTTP = s.httpServer(withLog(s.cfg.Logger, "station", stations))
	s.stationHTTP.ConnContext = withPeer
	s.stationHTTP.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Load(), nil },
		// Asked for, and verified by each operation: renewal alone will take an expired one.
		ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"h2", "http/1.1"},
		// Each connection shows that its station has its key, now.
		SessionTicketsDisabled: true,
	}
	s.adminHTTP = s.httpServer(withLog(s.cfg.Logger, "admin", withHosts(adminHosts(s.adminListener.Addr()), admin)))
	return nil
}

// httpServer sets the timeouts. Reading and writing must outlast a long poll (25 s):
// the read deadline also ends the context of a handler that is still at work.
func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h,
		// Connections are many and quiet: what each keeps is bounded.
		HTTP2:             &http.HTTP2Config{MaxReadFrameSize: 16 << 10},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      90 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// Start answers requests and works in the background, until Close.
func (s *Server) Start() {
	stations := newHandshakes(s.stationListener, s.stationHTTP.TLSConfig, s.stationHTTP.ErrorLog)
	s.background.Go(func() { s.serve("stations", s.stationHTTP.Serve(stations)) })
	s.background.Go(func() { s.serve("administration", s.adminHTTP.Serve(s.adminListener)) })
	s.Work()
}

// Work is the part of Start that goes on in the background, for whoever hands requests
// to the handlers himself.
func (s *Server) Work() {
	s.background.Go(s.sweepLoop)
	s.background.Go(func() { s.revoker.run(s.stopping) })
	s.background.Go(s.crlLoop)
	s.background.Go(s.retainLoop)
	s.background.Go(s.certificateLoop)
	if !s.store.Shared() {
		return
	}
	failed := func(err error) { s.cfg.Logger.Warn("the other servers are not heard or told", "error", err) }
	for _, b := range s.neighbours.bells {
		s.background.Go(func() { s.neighbours.tell(s.stopping, b, failed) })
	}
	s.background.Go(func() { s.neighbours.listen(s.stopping, failed) })
}

// StationHandler answers stations; whoever calls it puts the client certificate into the
// request's TLS state, as the listener does. AdminHandler answers the administration.
func (s *Server) StationHandler() http.Handler { return s.stationHTTP.Handler }

// Connected is on how many connections a station has been known, whether they are open or not.
func (s *Server) Connected() int64 { return s.connected.Load() }

// AdminHandler is described at StationHandler.
func (s *Server) AdminHandler() http.Handler { return s.adminHTTP.Handler }

// Serve starts, waits until ctx is done or a listener fails, and closes.
func (s *Server) Serve(ctx context.Context) error {
	s.Start()
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	}
	return errors.Join(err, s.Close())
}

func (s *Server) serve(what string, err error) {
	if !errors.Is(err, http.ErrServerClosed) {
		s.failed <- fmt.Errorf("serve %s: %w", what, err)
	}
}

// Close ends long polls, lets requests and calls of the CA finish for StopGrace, and closes everything.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		s.stop()
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StopGrace)
		defer cancel()
		var errs []error
		for _, h := range []*http.Server{s.stationHTTP, s.adminHTTP} {
			if h == nil {
				continue
			}
			if err := h.Shutdown(ctx); err != nil {
				errs = append(errs, h.Close())
			}
		}
		s.background.Wait()
		if s.issuer != nil {
			s.issuer.close(s.cfg.StopGrace)
			if err := s.keepAge(ctx); err != nil {
				s.cfg.Logger.Warn("a backup of just now may not be noticed as one", "error", err)
			}
		}
		s.closeErr = errors.Join(append(errs, s.closeAll())...)
	})
	return s.closeErr
}

func (s *Server) closeAll() error {
	s.stop()
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// sweepLoop ends leases and takes up unfinished issuing: once at the start, then regularly.
func (s *Server) sweepLoop() {
	s.try("sweep failed", s.Sweep)
	s.every(s.cfg.SweepInterval, "sweep failed", s.Sweep)
}

// every does something after each interval, until the server stops.
func (s *Server) every(interval time.Duration, failed string, do func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.stopping.Done():
			return
		}
		s.try(failed, do)
	}
}

// try does something, and logs why it failed unless the server stops.
func (s *Server) try(failed string, do func(context.Context) error) {
	if err := do(s.stopping); err != nil && s.stopping.Err() == nil {
		s.cfg.Logger.Error(failed, "error", err)
	}
}

// Sweep does at once what otherwise happens at every SweepInterval.
func (s *Server) Sweep(ctx context.Context) error {
	if err := s.keepAge(ctx); err != nil {
		return err
	}
	expired, err := s.store.Expired(ctx)
	if err != nil {
		return err
	}
	if expired {
		ready, err := s.store.Sweep(ctx)
		if err != nil {
			return err
		}
		if ready > 0 {
			s.cfg.Logger.Info("leases ran out", "units", ready)
			s.ready.ringAll()
		}
	}
	if _, err := s.store.FindBlocked(ctx); err != nil {
		return err
	}
	s.revoker.kick() // a CA that takes its time must not hold up what comes here
	return s.issuer.sweep(ctx)
}

// StationURL is where stations find the contract's operations.
func (s *Server) StationURL() string {
	return "https://" + s.stationListener.Addr().String() + basePath
}

// AdminURL is where the administration's operations are.
func (s *Server) AdminURL() string { return "http://" + s.adminListener.Addr().String() + basePath }

// AdminToken is the bearer token of the administration.
func (s *Server) AdminToken() string { return s.adminToken }

// Addresses is what a server tells other programs about where it listens.
type Addresses struct {
	Station string `json:"station"`
	Admin   string `json:"admin"`
	// TokenFile is the path of the administration token.
	TokenFile string `json:"tokenFile"`
}

// AddressFile is the name of the file in the data directory that holds Addresses.
const AddressFile = "addresses.json"

// Addresses tells where the server listens.
func (s *Server) Addresses() Addresses {
	token := filepath.Join(s.cfg.DataDir, TokenFile)
	if abs, err := filepath.Abs(token); err == nil {
		token = abs
	}
	return Addresses{Station: s.StationURL(), Admin: s.AdminURL(), TokenFile: token}
}

// WriteAddresses writes Addresses into the data directory; the returned function removes the file.
func (s *Server) WriteAddresses() (remove func() error, err error) {
	text, err := json.MarshalIndent(s.Addresses(), "", "  ")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.cfg.DataDir, AddressFile)
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("write the addresses: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, fmt.Errorf("write the addresses: %w", err)
	}
	return func() error { return os.Remove(path) }, nil
}
