package est_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/catest"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/est"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/esttest"
)

func config(s *esttest.Server) est.Config {
	return est.Config{Server: s.URL, Label: s.Label, ServerTrust: s.ServerTrust, Client: s.Client, Roots: s.Roots, Timeout: 5 * time.Second}
}

func client(t *testing.T, cfg est.Config) *est.CA {
	t.Helper()
	c, err := est.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	catest.Conformance(t, func(t *testing.T) *catest.Fixture {
		s := esttest.New(t)
		c := client(t, config(s))
		return &catest.Fixture{CA: c, Reopen: func(t *testing.T) ca.CA { return client(t, config(s)) }}
	})
}

// What a test expects of an answer.
const (
	issued  = "issued"
	refused = "refused"
	pending = "pending"
	twice   = "twice"
	unknown = "unknown"
)

func outcome(err error) string {
	var r *ca.RefusedError
	var p *ca.PendingError
	var two *ca.TwiceError
	switch {
	case err == nil:
		return issued
	case errors.As(err, &r):
		return refused
	case errors.As(err, &p):
		return pending
	case errors.As(err, &two):
		return twice
	}
	return unknown
}

// TestAnswers is every way in which a server may misbehave, and what is known then.
func TestAnswers(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		answer esttest.Answer
		want   string
		is     error // what the error is, too
		made   int   // by the CA
	}{
		{"as it should", esttest.Issue, issued, nil, 1},
		{"slow, before it is made", esttest.SlowBefore, unknown, context.DeadlineExceeded, 0},
		{"slow, after it is made", esttest.SlowAfter, unknown, context.DeadlineExceeded, 1},
		{"cut before it is made", esttest.CutBefore, unknown, nil, 0},
		{"cut after it is made", esttest.CutAfter, unknown, nil, 1},
		{"202", esttest.Later(1, "120"), pending, nil, 0},
		{"202 without Retry-After", esttest.Later(1, ""), pending, nil, 0},
		{"wrong content type", esttest.WrongType, unknown, est.ErrContentType, 1},
		{"other smime-type", esttest.OtherSMIMEType, unknown, est.ErrContentType, 1},
		{"other key", esttest.OtherKey, unknown, ca.ErrNoLeaf, 0},
		{"other subject", esttest.OtherSubject, issued, nil, 1}, // the station judges, and it must be known
		{"two leaves", esttest.TwoLeaves, twice, nil, 2},
		{"made twice, one sent", esttest.Twice, issued, nil, 2}, // nothing of it shows here
		{"extra certificates", esttest.ExtraCertificates, issued, nil, 1},
		{"no certificates", esttest.EmptyBundle, unknown, csr.ErrBadBundle, 1},
		{"garbage", esttest.Garbage, unknown, csr.ErrBadBundle, 1},
		{"10 MB", esttest.Huge, unknown, nil, 1},
		{"redirect elsewhere", esttest.Status(307, "Location", "https://127.0.0.1:1/.well-known/est/simpleenroll"), pending, nil, 0},
		{"redirect to a page about it", esttest.Status(303, "Location", "/done"), unknown, est.ErrUnclear, 0},
		{"401", esttest.Status(401), pending, nil, 0},
		{"400", esttest.Status(400), refused, nil, 0},
		{"500", esttest.Status(500), unknown, est.ErrUnclear, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := esttest.New(t)
			s.Do(row.answer)
			cfg := config(s)
			if strings.HasPrefix(row.name, "slow") {
				cfg.Timeout = 300 * time.Millisecond
			}
			r := catest.Request(t, "EST-001-g1", false)
			c, err := client(t, cfg).Issue(t.Context(), r)
			if got := outcome(err); got != row.want || row.is != nil && !errors.Is(err, row.is) {
				t.Errorf("%s: %v, want %s", got, err, row.want)
			}
			if asked := s.Asked(r.CSR); asked != 1 {
				t.Errorf("the server was asked %d times", asked)
			}
			if made := len(s.Made(r.CSR)); made != row.made {
				t.Errorf("%d certificates were made, want %d", made, row.made)
			}
			if err == nil {
				certs, err := csr.ParseBundle(c.PKCS7)
				if err != nil || len(certs) != 2 || certs[1].CheckSignatureFrom(s.Roots[0]) != nil || !certs[0].Equal(s.Made(r.CSR)[row.made-1]) {
					t.Errorf("a bundle of %d: %v", len(certs), err)
				}
			}
		})
	}
}

// TestNothingIsAsked: what shows before the request, is no unknown outcome.
func TestNothingIsAsked(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		change func(*esttest.Server, *est.Config)
		say    string
	}{
		{"wrong TLS certificate", func(s *esttest.Server, c *est.Config) { c.ServerTrust = s.Roots }, "certificate"},
		{"expired client certificate", func(s *esttest.Server, c *est.Config) { c.Client = s.ClientUntil(time.Now().Add(-time.Hour)) }, "certificate"},
		{"no client certificate", func(_ *esttest.Server, c *est.Config) { c.Client = nil }, "certificate"},
		{"no password", func(s *esttest.Server, _ *est.Config) { s.Basic = true }, "401"},
		{"wrong password", func(s *esttest.Server, c *est.Config) {
			s.Basic, c.Username, c.Password = true, esttest.Username, "guess"
		}, "401"},
		{"wrong label", func(_ *esttest.Server, c *est.Config) { c.Label = "elsewhere" }, "404"},
		{"nobody there", func(_ *esttest.Server, c *est.Config) { c.Server = "https://127.0.0.1:1" }, "refused"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := esttest.New(t)
			cfg := config(s)
			row.change(s, &cfg)
			c := client(t, cfg)
			r := catest.Request(t, "EST-001-g1", false)
			_, err := c.Issue(t.Context(), r)
			if outcome(err) != pending || !strings.Contains(err.Error(), row.say) || strings.Contains(err.Error(), "guess") {
				t.Errorf("got %v, want pending, with %q in it", err, row.say)
			}
			if s.Asked(r.CSR) != 0 {
				t.Error("the server was asked for a certificate")
			}
			if said, err := c.Check(t.Context()); err == nil {
				t.Errorf("the check finds nothing: %v", said)
			}
		})
	}
}

func TestWaysToAsk(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		change func(*esttest.Server, *est.Config, *ca.Request)
	}{
		{"label", func(s *esttest.Server, c *est.Config, _ *ca.Request) {
			s.Label, c.Label = "usb-keys.2026", "usb-keys.2026"
		}},
		{"HTTP basic", func(s *esttest.Server, c *est.Config, _ *ca.Request) {
			s.Basic, c.Username, c.Password = true, esttest.Username, esttest.Password
		}},
		{"base64 in one line", func(s *esttest.Server, _ *est.Config, _ *ca.Request) { s.OneLine = true }},
		{"renewal", func(_ *esttest.Server, _ *est.Config, r *ca.Request) { r.Renewal = true }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, r := esttest.New(t), catest.Request(t, "EST-001-g1", false)
			cfg := config(s)
			row.change(s, &cfg, &r)
			cfg.Server = s.URL
			c := client(t, cfg)
			if _, err := c.Issue(t.Context(), r); err != nil {
				t.Error(err)
			}
			if renewed := s.Renewed() == 1; renewed != r.Renewal {
				t.Errorf("asked for a renewal: %t", renewed)
			}
			said, err := c.Check(t.Context())
			if err != nil || len(said) < 3 {
				t.Errorf("check: %q, %v", said, err)
			}
		})
	}
}

// The same request again is answered once the CA has decided; a CA whose
// certificates do not stand under our roots is found out before anything is issued.
func TestRetryAfterAndRoots(t *testing.T) {
	t.Parallel()
	s := esttest.New(t)
	s.Do(esttest.Later(1, "7"))
	c, r := client(t, config(s)), catest.Request(t, "EST-001-g1", false)
	_, err := c.Issue(t.Context(), r)
	var later *ca.PendingError
	if !errors.As(err, &later) || later.After != 7*time.Second {
		t.Fatalf("got %v, want pending for 7 s", err)
	}
	if _, err := c.Issue(t.Context(), r); err != nil {
		t.Error(err)
	}
	cfg := config(s)
	cfg.Roots = []*x509.Certificate{esttest.New(t).Roots[0]}
	if said, err := client(t, cfg).Check(t.Context()); err == nil {
		t.Errorf("the check likes other roots: %q", said)
	}
}
