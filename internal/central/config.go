package central

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// Config is what a server is made from. Only DataDir is required.
type Config struct {
	// DataDir holds everything that must outlive the process; made with mode 0700.
	DataDir string
	// Postgres is the database that several servers share. Not given means a SQLite file
	// in DataDir, which this one has to itself.
	Postgres database.Postgres
	// Common is the way to a SQLite file that several servers of this process share, in
	// the place of Postgres. It is for simulations.
	Common *database.Node
	// CA certifies the customers' keys. Nil means the development CA in DataDir.
	CA ca.CA
	// Clock tells the time of leases, history and certificates. Nil means time.Now; where
	// servers share a database, leases and history go by the database's clock then.
	// Waiting goes by the real clock.
	Clock      func() time.Time
	storeClock store.Clock // Clock as it was given
	// StationAddr and AdminAddr are where to listen; port 0 takes a free one. Empty
	// means 127.0.0.1:0. AdminAddr must be on the loopback.
	StationAddr, AdminAddr string
	// ServerNames are names and addresses under which stations reach the server,
	// beside localhost, 127.0.0.1 and ::1.
	ServerNames []string
	// UserPINRecipients and SOPINRecipients are served by GET /trust. Where there are
	// any, what is sealed to somebody else is refused.
	UserPINRecipients, SOPINRecipients []*x509.Certificate
	// TPMMakers are roots, and issuers under them, of TPMs' endorsement certificates.
	// A TPM whose certificate stands under none of them has to be approved, unless its
	// invitation names it.
	TPMMakers []*x509.Certificate
	// LeaseBase is the shortest lease, 2 minutes if zero. A session's lease is the longer
	// of this and its worst key generation plus a margin; the margin is 60 s, or half
	// of LeaseBase where that is less.
	LeaseBase time.Duration
	// Rules are the other lengths of time; zero fields get the defaults.
	Rules store.Rules
	// RetainDays is how many days personal data are kept once an order is done with: all
	// units SHIPPED or CANCELLED. Zero keeps them for ever.
	RetainDays int
	// CalendarFile adds notices of holidays to those that are built in, or replaces them. It
	// is read whenever a due time is computed. Empty means the built-in ones alone.
	CalendarFile string
	// IssueWait is how long PUT …/csr waits for the certificate before it answers 202; 2 s if zero.
	IssueWait time.Duration
	// CATimeout bounds one call of the CA; 60 s if zero. Past it the outcome is unknown.
	CATimeout time.Duration
	// SweepInterval is between looks for expired leases and unfinished issuing; 1 s if zero.
	SweepInterval time.Duration
	// StopGrace is how long Close lets requests and CA calls finish; 5 s if zero.
	StopGrace time.Duration
	// Logger gets one line per request and what goes on in the background. Nil discards.
	Logger *slog.Logger
	// Version is what GET /meta says; "dev" if empty.
	Version string
}

// minLeaseBase keeps heartbeats, which are counted in whole seconds, inside a lease.
const minLeaseBase = 2 * time.Second

// complete fills in the defaults and says all that is wrong.
func (c Config) complete() (Config, error) {
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("no data directory given"))
	}
	orDefault := func(d *time.Duration, what string, def, least time.Duration) {
		if *d == 0 {
			*d = def
		}
		if *d < least {
			errs = append(errs, fmt.Errorf("%s is %s, must be at least %s", what, *d, least))
		}
	}
	orDefault(&c.LeaseBase, "the lease", 2*time.Minute, minLeaseBase)
	orDefault(&c.IssueWait, "the wait for the CA", 2*time.Second, time.Millisecond)
	orDefault(&c.CATimeout, "the CA's timeout", time.Minute, time.Millisecond)
	orDefault(&c.SweepInterval, "the sweep interval", time.Second, time.Millisecond)
	orDefault(&c.StopGrace, "the grace at the end", 5*time.Second, time.Millisecond)
	def := store.DefaultRules()
	orDefault(&c.Rules.Custody, "custody", def.Custody, time.Second)
	orDefault(&c.Rules.SessionTTL, "the life of a silent session", def.SessionTTL, time.Second)
	orDefault(&c.Rules.HomeGrace, "the life of an order's home", def.HomeGrace, time.Second)
	orDefault(&c.Rules.ClaimKeyTTL, "the memory of an idempotency key", def.ClaimKeyTTL, time.Second)
	orDefault(&c.Rules.BreakerPause, "the pause of a station whose units fail", def.BreakerPause, time.Millisecond)
	orDefault(&c.Rules.BlockedAfter, "the wait before an order is told to be blocked", def.BlockedAfter, time.Millisecond)
	if c.Rules.BreakerFailures == 0 {
		c.Rules.BreakerFailures = def.BreakerFailures
	}
	if _, err := c.calendar(); err != nil {
		errs = append(errs, err)
	}
	if c.RetainDays < 0 {
		errs = append(errs, fmt.Errorf("personal data are to be kept for %d days, must be 0 (for ever) or more", c.RetainDays))
	}
	if c.Rules.MaxAttempts == 0 {
		c.Rules.MaxAttempts = def.MaxAttempts
	}
	c.storeClock = c.Clock
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.StationAddr == "" {
		c.StationAddr = "127.0.0.1:0"
	}
	if c.AdminAddr == "" {
		c.AdminAddr = "127.0.0.1:0"
	}
	if err := loopback(c.AdminAddr); err != nil {
		errs = append(errs, err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	return c, errors.Join(errs...)
}

// loopback refuses an administration address that others can reach: it speaks
// plain HTTP, and its token would go over the wire.
func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("the administration address %q is not host:port: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("the administration address %q is not on the loopback: use 127.0.0.1, ::1 or localhost", addr)
}
