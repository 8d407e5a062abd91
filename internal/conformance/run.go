package conformance

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
)

// Config is the server under test and what its tester was given for it.
type Config struct {
	// URL is the stations' side and AdminURL the order system's, both with /v1.
	URL, AdminURL string
	// AdminToken is the bearer token of the order system.
	AdminToken string
	// Roots are those under which the server's certificates stand.
	Roots *x509.CertPool
	// Stations are two that the server has enrolled, and which are not at work.
	Stations [2]tls.Certificate
	// Order is a document of the product under test. Its id, quantity and dates are
	// replaced.
	Order api.Order
	// Profile and NewKey make the requests that the product wants.
	Profile *csr.CompiledProfile
	NewKey  func() (crypto.Signer, error)
	// through is put around what the calls go through; nil outside tests.
	through func(http.RoundTripper) http.RoundTripper
	// Patience is how long the CA may take for a certificate; 0 for 30 s.
	Patience time.Duration
}

// Verdict is what was found of a rule.
type Verdict string

// Verdicts.
const (
	Holds  Verdict = "holds"
	Broken Verdict = "broken"
	// NotDriven: it could not be tried, because what it begins with did not work.
	NotDriven Verdict = "not driven"
)

// Result is one rule and what was found.
type Result struct {
	Name    string  `json:"name"`
	Rule    string  `json:"rule"`
	Verdict Verdict `json:"verdict"`
	// Detail says what was asked, answered and wanted, when the rule does not hold.
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
}

// check is one rule and its proof.
type check struct {
	name, rule string
	try        func(*scene) error
}

// Checks are all checks, in their order.
func checks() []check {
	var all []check
	for _, group := range [][]check{
		sessionChecks(), claimChecks(), leaseChecks(), escrowChecks(), bindChecks(), resultChecks(),
		inputChecks(), raceChecks(), cancelChecks(), adoptChecks(), reissueChecks(), recordChecks(), shipmentChecks(),
	} {
		all = append(all, group...)
	}
	return all
}

// Rule is one rule of the contract in words.
type Rule struct {
	Name string `json:"name"`
	Rule string `json:"rule"`
}

// Rules are all that Run tries, in their order.
func Rules() []Rule {
	var out []Rule
	for _, c := range checks() {
		out = append(out, Rule{c.name, c.rule})
	}
	return out
}

// Run tries every rule whose name contains only, tells each result as it comes, and
// returns all. The error says why the server could not be tried at all.
func Run(ctx context.Context, c Config, only string, tell func(Result)) ([]Result, error) {
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	d, err := newDriver(ctx, c)
	if err != nil {
		return nil, err
	}
	defer d.close()
	var out []Result
	for _, k := range checks() {
		if !strings.Contains(k.name, only) {
			continue
		}
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		r := d.try(ctx, k)
		tell(r)
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no check has %q in its name", only)
	}
	return out, nil
}

// longest bounds one check: a rule that hangs is broken.
const longest = 2 * time.Minute

// try tries one rule on orders of its own, and takes them back at the end.
func (d *driver) try(ctx context.Context, k check) Result {
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	s := &scene{driver: d, ctx: limited}
	r := Result{Name: k.name, Rule: k.rule, Verdict: Holds}
	var first *setupError
	switch err := k.try(s); {
	case err == nil:
	case errors.As(err, &first):
		r.Verdict, r.Detail = NotDriven, err.Error()
	default:
		r.Verdict, r.Detail = Broken, err.Error()
	}
	s.clear(ctx)
	r.Seconds = time.Since(begun).Seconds()
	return r
}

// setupError says that a check did not come as far as its rule.
type setupError struct{ err error }

// Error implements error.
func (e *setupError) Error() string { return "did not come so far: " + e.err.Error() }

// Unwrap gives the cause.
func (e *setupError) Unwrap() error { return e.err }

// before marks what fails before the rule itself is tried.
func before(err error) error {
	var already *setupError
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &setupError{err}
}
