package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker/workertest"
	"github.com/usbkeyd/usbkeyd/provision"
)

func TestDrainWritesEveryUnit(t *testing.T) {
	r := newRig(t, 5, time.Minute)
	r.order(5)
	summary, err := r.run(t.Context())
	if err != nil || summary.Finished != 5 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	r.installed(5)
	again, err := r.run(t.Context())
	if err != nil || again.Finished != 0 || len(again.Waiting) != 0 {
		t.Errorf("a second run: %+v (%v), wanted nothing to do", again, err)
	}
}

// TestMoreUnitsThanTokens leaves the rest of the order READY, not leased to nobody.
func TestMoreUnitsThanTokens(t *testing.T) {
	r := newRig(t, 2, time.Minute)
	r.order(5)
	summary, err := r.run(t.Context())
	if err != nil || summary.Finished != 2 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	count := map[api.UnitStateName]int{}
	for _, u := range r.units() {
		count[u.State]++
	}
	if count[api.INSTALLED] != 2 || count[api.READY] != 3 {
		t.Errorf("units: %v", count)
	}
}

// TestMisbehavingCA: whatever the CA sends, no token gets a certificate that is not
// its own, and the unit's state says why.
func TestMisbehavingCA(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name   string
		change func(*testCA)
	}{
		{"another unit's certificate", func(c *testCA) { c.wrong = func(l *x509.Certificate) { l.PublicKey = other.Public() } }},
		{"another subject", func(c *testCA) {
			c.wrong = func(l *x509.Certificate) {
				l.RawSubject, l.Subject = nil, pkix.Name{CommonName: "另一家公司"}
			}
		}},
		{"an expired one", func(c *testCA) {
			c.wrong = func(l *x509.Certificate) {
				l.NotBefore, l.NotAfter = l.NotBefore.AddDate(-2, 0, 0), l.NotAfter.AddDate(-2, 0, 0)
			}
		}},
		{"one from another root", func(c *testCA) { c.signer = other }},
		{"only its own certificate", func(c *testCA) { c.always = []*x509.Certificate{c.root} }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, 1, time.Minute)
			row.change(r.ca)
			r.order(1)
			summary, err := r.run(t.Context())
			if err != nil || summary.Quarantined != 1 {
				t.Errorf("%+v (%v)", summary, err)
			}
			unit := r.units()[0]
			if unit.State != api.HELD || text(unit.HeldReason) == "" {
				t.Errorf("unit is %s, reason %q", unit.State, text(unit.HeldReason))
			}
			t.Log("held:", text(unit.HeldReason))
			if n := r.certificatesOn(0); n != 0 {
				t.Errorf("%d certificates on the token", n)
			}
		})
	}
}

// certificatesOn counts the certificates on the initialised token of a bay.
func (r *rig) certificatesOn(bay int) int {
	r.t.Helper()
	m, err := worker.Start(r.t.Context(), workertest.With(r.t, worker.Spec{Path: r.bays[bay].Path, Env: r.bays[bay].Env}))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	slots, err := m.Slots(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for _, s := range slots {
		if s.Token == nil || !s.Token.Initialized() {
			continue
		}
		token, err := m.Open(r.t.Context(), s.Identity())
		if err != nil {
			r.t.Fatal(err)
		}
		class := pkcs11.ClassCertificate
		found, err := token.Objects(r.t.Context(), pkcs11.Query{Class: &class})
		if err != nil {
			r.t.Fatal(err)
		}
		n += len(found)
	}
	return n
}

// TestStopParksAndRestartResumes stops the daemon at every step of its jobs; the
// next start goes on, and nothing is written twice.
func TestStopParksAndRestartResumes(t *testing.T) {
	r := newRig(t, 3, time.Minute)
	r.order(3)
	for i, step := range provision.Plan(provision.Job{Kind: provision.KindInitial}) {
		ctx, stop := context.WithCancel(t.Context())
		r.config.Observe = func(p provision.Progress) {
			if p.Index >= i {
				stop()
			}
		}
		summary, err := r.run(ctx)
		stop()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %s: %v", step.Name, err)
		}
		if summary.Failed+summary.Quarantined > 0 {
			t.Fatalf("stopped at %s: %+v", step.Name, summary)
		}
	}
	r.config.Observe = nil
	if summary, err := r.run(t.Context()); err != nil || len(summary.Waiting) > 0 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	r.installed(3)
}

// TestLeaseExpiresWhileStopped: the unit goes back to the queue, comes to this
// station again under a new epoch, and the same token is finished.
func TestLeaseExpiresWhileStopped(t *testing.T) {
	r := newRig(t, 2, 2*time.Second)
	r.order(1)
	ctx, stop := context.WithCancel(t.Context())
	r.config.Observe = func(p provision.Progress) {
		if p.Step == provision.StepSetUserPIN {
			stop()
		}
	}
	if _, err := r.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.config.Observe = nil
	begun, err := r.journal.Unfinished()
	if err != nil || len(begun) != 1 {
		t.Fatal(begun, err)
	}
	r.waitFor("the lease to expire", func() bool { return r.units()[0].State == api.READY })
	if summary, err := r.run(t.Context()); err != nil || summary.Finished != 1 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	r.installed(1)
	u := r.units()[0]
	if u.Epoch != 2 || text(u.TokenSerial) != string(begun[0].Token.Identity.Serial) {
		t.Errorf("epoch %d on token %s, wanted 2 on %s", u.Epoch, text(u.TokenSerial), begun[0].Token.Identity.Serial)
	}
}

// waitFor waits, bounded, until something holds that happens elsewhere.
func (r *rig) waitFor(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestTheUnitComesBackUnderANewEpoch: heartbeats do not get through, the lease runs
// out while the request cannot be sent, and this station gets the unit again. The
// job goes on under the new epoch, on the same token.
func TestTheUnitComesBackUnderANewEpoch(t *testing.T) {
	r := newRig(t, 2, 2*time.Second)
	r.order(1)
	r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		blocked := (strings.HasSuffix(req.URL.Path, "/heartbeat") || strings.HasSuffix(req.URL.Path, "/csr")) && r.units()[0].Epoch < 2
		if blocked {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return blocked
	})
	r.config.Drain = false
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { _, err := r.run(ctx); done <- err }()
	r.waitFor("the unit to be installed", func() bool { return r.units()[0].State == api.INSTALLED })
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// On a machine under load the second lease may run out too.
	if u := r.units()[0]; u.Epoch < 2 {
		t.Errorf("epoch %d", u.Epoch)
	}
	r.installed(1)
}

// TestALostUnitSaysNothingAgainstItsToken: the lease has run out before the token was
// written. The same token, which nobody has taken out, is written when the unit comes back.
func TestALostUnitSaysNothingAgainstItsToken(t *testing.T) {
	r := newRig(t, 1, 2*time.Second)
	r.order(1)
	r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		early := r.units()[0].Epoch < 2
		switch {
		case early && strings.HasSuffix(req.URL.Path, "/heartbeat"):
			w.WriteHeader(http.StatusServiceUnavailable)
		case early && strings.Contains(req.URL.Path, "/escrows/"):
			w.Header().Set("Content-Type", api.ProblemMediaType)
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"type":"urn:usbkeyd:problem:stale-epoch","title":"The epoch is stale","status":409,"retryable":false}`))
		default:
			return false
		}
		return true
	})
	r.config.Drain = false
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { _, err := r.run(ctx); done <- err }()
	r.waitFor("the unit to be installed", func() bool { return r.units()[0].State == api.INSTALLED })
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	records, err := r.journal.All()
	if err != nil || len(records) < 2 || records[0].State != provision.StateFailed {
		t.Errorf("%d jobs (%v), wanted one that failed and another one", len(records), err)
	}
	r.installed(1)
}

// TestOutboxOutlivesTheNetwork: the network goes away once the key is bound; the
// token is finished all the same, and the result arrives when the network is back.
func TestOutboxOutlivesTheNetwork(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	r.order(1)
	var away atomic.Bool
	r.throughProxy(func(w http.ResponseWriter, _ *http.Request) bool {
		if away.Load() {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("<html>gateway</html>"))
		}
		return away.Load()
	})
	r.config.Drain = false
	finished := make(chan struct{})
	r.config.Observe = func(p provision.Progress) {
		if p.Step == provision.StepInstall {
			away.Store(true)
		}
		if p.State == provision.StateFinished {
			close(finished)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { _, err := r.run(ctx); done <- err }()
	select {
	case <-finished:
	case <-time.After(time.Minute):
		t.Fatal("the token was not finished without the network")
	}
	if n, err := r.journal.CountPendingReports(); err != nil || n != 1 {
		t.Errorf("%d reports in the outbox (%v)", n, err)
	}
	away.Store(false)
	r.waitFor("the result to arrive", func() bool { return r.units()[0].State == api.INSTALLED })
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.installed(1)
}

// TestAnEmptyAnswerIsNone: a gateway that answers 200 and nothing else has
// delivered nothing; the escrow and the result are sent again.
func TestAnEmptyAnswerIsNone(t *testing.T) {
	for _, what := range []string{"/escrows/", "/result"} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, 1, time.Minute)
			r.order(1)
			var swallowed atomic.Int32
			r.throughProxy(func(_ http.ResponseWriter, req *http.Request) bool {
				return strings.Contains(req.URL.Path, what) && swallowed.Add(1) == 1 // 200 without a body
			})
			summary, err := r.run(t.Context())
			if err != nil || summary.Finished != 1 || swallowed.Load() < 2 {
				t.Errorf("%+v (%v), sent %d times", summary, err, swallowed.Load())
			}
			r.installed(1)
		})
	}
}

// TestADrainEndsWhenNothingCanBeClaimed: with the server's reason, at once.
func TestADrainEndsWhenNothingCanBeClaimed(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	r.order(1)
	r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasSuffix(req.URL.Path, "/claims") {
			return false
		}
		w.Header().Set("Content-Type", api.ProblemMediaType)
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"type":"urn:usbkeyd:problem:forbidden","title":"Forbidden","status":403,"retryable":false}`))
		return true
	})
	if _, err := r.run(t.Context()); !errors.Is(err, ErrForbidden) {
		t.Errorf("got %v", err)
	}
}

// TestADrainHasPatienceButNotForEver: the network goes away for good in the middle.
func TestADrainHasPatienceButNotForEver(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	r.order(1)
	r.config.Patience = 2 * time.Second
	var away atomic.Bool
	r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.URL.Path, "/escrows/") {
			away.Store(true)
		}
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
		return away.Load()
	})
	summary, err := r.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "has not answered for 2s") || len(summary.Waiting) != 1 {
		t.Errorf("%+v (%v)", summary, err)
	}
}

// TestAWrongFactorySOPINIsTriedOnce: on one token of the lot, and not again after restarts.
func TestAWrongFactorySOPINIsTriedOnce(t *testing.T) {
	r := newRig(t, 3, time.Minute)
	r.order(3)
	since := time.Now()
	r.config.Runner.TokenProfile = func(i pkcs11.TokenInfo) (provision.TokenProfile, error) {
		p, err := sampleProfile(i)
		p.FactorySOPIN, p.FactorySince = pkcs11.NewSOPIN("11112222"), since
		return p, err
	}
	for _, b := range r.bays {
		r.factoryToken(b)
	}
	tried := 0
	for range 3 {
		if _, err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		all, err := r.journal.All()
		if err != nil {
			t.Fatal(err)
		}
		tried = 0
		for _, rec := range all {
			if rec.Facts.FactoryTried {
				tried++
			}
		}
	}
	if tried != 1 {
		t.Errorf("the wrong factory SO PIN was tried on %d tokens", tried)
	}
}

// factoryToken makes an initialised token without a user PIN, as a maker delivers it.
func (r *rig) factoryToken(b pkcs11test.Bay) {
	r.t.Helper()
	m, err := worker.Start(r.t.Context(), workertest.With(r.t, worker.Spec{Path: b.Path, Env: b.Env}))
	if err != nil {
		r.t.Fatal(err)
	}
	slots, err := m.Slots(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := m.Open(r.t.Context(), slots[0].Identity())
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := token.Init(r.t.Context(), pkcs11.NewSOPIN("87654321"), "factory"); err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(token.Close(), m.Close()); err != nil {
		r.t.Fatal(err)
	}
}

// throughProxy puts a TLS server between station and central server; a request that
// intercept answers goes no further.
func (r *rig) throughProxy(intercept func(http.ResponseWriter, *http.Request) bool) {
	r.t.Helper()
	direct := r.config.Central
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if intercept(w, req) {
			return
		}
		forward := req.Clone(req.Context())
		forward.RequestURI = ""
		forward.URL.Scheme, forward.URL.Host = "https", "central.invalid"
		resp, err := direct.http.Transport.RoundTrip(forward)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = copyBody(w, resp)
	}))
	proxy.StartTLS()
	r.t.Cleanup(proxy.Close)
	r.roots = x509.NewCertPool()
	r.roots.AddCert(proxy.Certificate())
	r.connect(tls.Certificate{}, proxy.URL)
	r.config.Central.station = direct.station
}

func copyBody(w http.ResponseWriter, resp *http.Response) (int64, error) {
	var n int64
	buf := make([]byte, 32<<10)
	for {
		k, err := resp.Body.Read(buf)
		if _, werr := w.Write(buf[:k]); werr != nil {
			return n, werr
		}
		n += int64(k)
		if err != nil {
			return n, nil
		}
	}
}

// TestServerThatIsNone: each ends in one clear error, with nothing written.
func TestServerThatIsNone(t *testing.T) {
	html := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html>welcome</html>"))
	}))
	defer html.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(html.Certificate())
	gone := httptest.NewTLSServer(http.NotFoundHandler())
	gone.Close()

	rows := []struct {
		name  string
		url   string
		roots *x509.CertPool
		want  string
	}{
		{"down", gone.URL, trusted, "connection refused"},
		{"answers HTML", html.URL, trusted, "not one of this contract"},
		{"shows another certificate", html.URL, x509.NewCertPool(), "does not stand under central.trust; nothing was sent"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, 1, time.Minute)
			r.order(1)
			r.roots, r.config.ConnectWithin = row.roots, 300*time.Millisecond
			r.connect(tls.Certificate{}, row.url)
			_, err := r.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want one that says %q", err, row.want)
			}
			all, err := r.journal.All()
			if err != nil || len(all) != 0 {
				t.Errorf("%d jobs in the journal (%v)", len(all), err)
			}
		})
	}
}

// TestUnknownStation is turned away at once, not after all tries.
func TestUnknownStation(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	r.connect(tls.Certificate{}, r.central.StationURL())
	r.config.ConnectWithin = time.Hour
	if _, err := r.run(t.Context()); !errors.Is(err, ErrForbidden) {
		t.Errorf("got %v", err)
	}
}

// TestUnlistedRecipients: a server that names recipients of its own choice gets no PIN.
func TestUnlistedRecipients(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	r.order(1)
	r.config.UserPINRecipients = []string{strings.Repeat("0", 64)}
	if _, err := r.run(t.Context()); !errors.Is(err, errRecipients) {
		t.Errorf("got %v", err)
	}
	if u := r.units()[0]; u.State != api.READY {
		t.Errorf("unit is %s", u.State)
	}
}

// TestUsedTokenIsLeftAlone: a token with a customer's certificate stays as it is,
// byte for byte, whether or not a factory SO PIN is configured for its model.
func TestUsedTokenIsLeftAlone(t *testing.T) {
	for _, factory := range []string{"", "12345678"} {
		t.Run("factory="+factory, func(t *testing.T) {
			r := newRig(t, 1, time.Minute)
			r.order(1)
			r.bays[0].InitToken(t, "customer", "12345678", "123456")
			r.bays[0].PutCertificate(t, "customer", "123456", "01", "customer", r.ca.root.Raw)
			r.config.Runner.TokenProfile = func(i pkcs11.TokenInfo) (provision.TokenProfile, error) {
				p, err := sampleProfile(i)
				p.FactorySOPIN = pkcs11.NewSOPIN(factory)
				return p, err
			}
			before := snapshot(t, r.bays[0].Dir)
			summary, err := r.run(t.Context())
			if err != nil || summary.Finished+summary.Failed+summary.Quarantined+len(summary.Waiting) > 0 {
				t.Errorf("%+v (%v)", summary, err)
			}
			if snapshot(t, r.bays[0].Dir) != before {
				t.Error("the token was changed")
			}
			if u := r.units()[0]; u.State != api.READY {
				t.Errorf("unit is %s", u.State)
			}
		})
	}
}

// snapshot is every file below dir with its content.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		b.WriteString(path + "\x00" + string(data) + "\x00")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestModuleThatIsNone: the other bays work on.
func TestModuleThatIsNone(t *testing.T) {
	r := newRig(t, 2, time.Minute)
	path := filepath.Join(t.TempDir(), "module.so")
	if err := os.WriteFile(path, []byte("this is no module"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.bays[0].Path = path
	r.order(1)
	summary, err := r.run(t.Context())
	if err != nil || summary.Finished != 1 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	r.installed(1)
}
