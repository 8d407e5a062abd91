package central_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
	"github.com/usbkeyd/usbkeyd/internal/central/stationroot"
)

// forge signs a client certificate with any root, name, usage and validity.
func forge(t *testing.T, root *x509.Certificate, rootKey any, name string, usage x509.ExtKeyUsage, from, to time.Time) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, BasicConstraintsValid: true,
	}
	if usage == x509.ExtKeyUsageAny {
		template.ExtKeyUsage = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestClientCertificates(t *testing.T) { onBothEngines(t, testClientCertificates) }

func testClientCertificates(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	revoked := r.station("bay-2")
	root, err := keyfile.ReadCertificate(filepath.Join(r.dir, "station-root", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	rootKey, err := keyfile.ReadKey(filepath.Join(r.dir, "station-root", "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	if _, err := stationroot.Open(filepath.Join(elsewhere, "root"), time.Now); err != nil {
		t.Fatal(err)
	}
	otherRoot, err := keyfile.ReadCertificate(filepath.Join(elsewhere, "root", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := keyfile.ReadKey(filepath.Join(elsewhere, "root", "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	client := x509.ExtKeyUsageClientAuth
	rows := []struct {
		name   string
		cert   *tls.Certificate
		status int
		want   api.ProblemType
	}{
		{"none", &tls.Certificate{}, 401, api.ProblemUnauthenticated},
		{"expired", forge(t, root, rootKey, "bay-1", client, now.Add(-48*time.Hour), now.Add(-time.Hour)), 401, api.ProblemUnauthenticated},
		{"not valid yet", forge(t, root, rootKey, "bay-1", client, now.Add(time.Hour), now.Add(48*time.Hour)), 401, api.ProblemUnauthenticated},
		{"under another root of the same name", forge(t, otherRoot, otherKey, "bay-1", client, now.Add(-time.Hour), now.Add(time.Hour)), 401, api.ProblemUnauthenticated},
		{"for servers", forge(t, root, rootKey, "bay-1", x509.ExtKeyUsageServerAuth, now.Add(-time.Hour), now.Add(time.Hour)), 401, api.ProblemUnauthenticated},
		{"for no named use", forge(t, root, rootKey, "bay-1", x509.ExtKeyUsageAny, now.Add(-time.Hour), now.Add(time.Hour)), 401, api.ProblemUnauthenticated},
		{"of a station that is not known", forge(t, root, rootKey, "bay-9", client, now.Add(-time.Hour), now.Add(time.Hour)), 403, api.ProblemForbidden},
		{"of a known station, but not its own", forge(t, root, rootKey, "bay-1", client, now.Add(-time.Hour), now.Add(time.Hour)), 403, api.ProblemForbidden},
		{"revoked", nil, 403, api.ProblemForbidden},
	}
	if _, err := r.admin.RevokeStation(t.Context(), "bay-2"); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := revoked.http
			if row.cert != nil {
				c = r.client(s.credential.ServerTrust, row.cert)
			}
			wantProblem(t, send(t, r.spec, c, r.srv.StationURL(), http.MethodGet, "/trust", nil), row.status, row.want)
			wantProblem(t, send(t, r.spec, c, r.srv.StationURL(), http.MethodPut, "/session", s.sessionRequest()), row.status, row.want)
			if a := send(t, r.spec, c, r.srv.StationURL(), http.MethodGet, "/meta", nil); a.status != http.StatusOK {
				t.Errorf("the protocol versions are for everybody: %v", a)
			}
		})
	}
	if a := s.send(http.MethodGet, "/trust", nil); a.status != http.StatusOK {
		t.Errorf("the right certificate is refused: %v", a)
	}
	r.clock.advance(366 * 24 * time.Hour)
	wantProblem(t, s.send(http.MethodGet, "/trust", nil), 401, api.ProblemUnauthenticated)
}

// A connection counts once its station is known, and once: who only connects is nobody.
func TestConnectionsOfStationsAreCounted(t *testing.T) {
	onBothEngines(t, testConnectionsOfStationsAreCounted)
}

func testConnectionsOfStationsAreCounted(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1") // which has opened a session
	stranger := r.client(s.credential.ServerTrust, nil)
	for range 3 {
		wantProblem(t, send(t, r.spec, stranger, r.srv.StationURL(), http.MethodGet, "/trust", nil), 401, api.ProblemUnauthenticated)
		if a := s.send(http.MethodGet, "/trust", nil); a.status != http.StatusOK {
			t.Fatal(a)
		}
	}
	if n := r.srv.Connected(); n != 1 {
		t.Errorf("%d connections counted, want the station's one", n)
	}
}

func TestOldTLSIsRefused(t *testing.T) { onBothEngines(t, testOldTLSIsRefused) }

func testOldTLSIsRefused(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	addr := strings.TrimSuffix(strings.TrimPrefix(r.srv.StationURL(), "https://"), "/v1")
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}}
	if c, err := d.DialContext(t.Context(), "tcp", addr); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 was spoken")
	}
}

// Each connection shows that the station has its key: none goes on with what an earlier one showed.
func TestNoTLSSessionIsResumed(t *testing.T) { onBothEngines(t, testNoTLSSessionIsResumed) }

func testNoTLSSessionIsResumed(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := s.http.Transport.(*http.Transport).TLSClientConfig.Clone()
		cfg.NextProtos, cfg.ClientSessionCache = nil, tls.NewLRUClientSessionCache(1)
		cfg.MinVersion, cfg.MaxVersion = version, version
		for range 2 {
			transport := &http.Transport{TLSClientConfig: cfg}
			a, err := (&http.Client{Transport: transport}).Get(r.srv.StationURL() + "/trust")
			if err != nil {
				t.Fatal(err)
			}
			if a.StatusCode != http.StatusOK || a.TLS.Version != version || a.TLS.DidResume {
				t.Errorf("status %d, TLS %x, resumed: %t", a.StatusCode, a.TLS.Version, a.TLS.DidResume)
			}
			if err := a.Body.Close(); err != nil {
				t.Error(err)
			}
			transport.CloseIdleConnections()
		}
	}
}

func TestAdministrationAccess(t *testing.T) { onBothEngines(t, testAdministrationAccess) }

func testAdministrationAccess(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	port := r.srv.AdminURL()[strings.LastIndex(r.srv.AdminURL(), ":")+1:]
	port = strings.TrimSuffix(port, "/v1")
	token := "Bearer " + r.srv.AdminToken()
	rows := []struct {
		name    string
		headers []string
		status  int
	}{
		{"right", []string{"Authorization", token}, 200},
		{"right, as localhost", []string{"Authorization", token, "Host", "localhost:" + port}, 200},
		{"no token", nil, 401},
		{"wrong token", []string{"Authorization", token + "x"}, 401},
		{"empty token", []string{"Authorization", "Bearer "}, 401},
		{"another scheme", []string{"Authorization", "Basic " + r.srv.AdminToken()}, 401},
		{"another host", []string{"Authorization", token, "Host", "attacker.example:" + port}, 403},
		{"host without port", []string{"Authorization", token, "Host", "127.0.0.1"}, 403},
		{"another port", []string{"Authorization", token, "Host", "127.0.0.1:1"}, 403},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			a := send(t, r.spec, http.DefaultClient, r.srv.AdminURL(), http.MethodGet, "/orders", nil, row.headers...)
			if a.status != row.status {
				t.Errorf("got %v, want %d", a, row.status)
			}
		})
	}
	wantProblem(t, send(t, r.spec, http.DefaultClient, r.srv.AdminURL(), http.MethodPut, "/session", []byte("{}"), "Authorization", token), 404, api.ProblemNotFound)
	info, err := os.Stat(filepath.Join(r.dir, central.TokenFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token file: %v %v", info, err)
	}
}

func TestAdministrationStaysOnTheLoopback(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "nonsense"} {
		if _, err := central.New(t.Context(), central.Config{DataDir: t.TempDir(), AdminAddr: addr}); err == nil || !strings.Contains(err.Error(), "administration address") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestTwoServersOnOneDirectory(t *testing.T) { onBothEngines(t, testTwoServersOnOneDirectory) }

func testTwoServersOnOneDirectory(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	if _, err := central.New(t.Context(), central.Config{DataDir: r.dir}); err == nil || !strings.Contains(err.Error(), "in use by another server") {
		t.Errorf("got %v", err)
	}
}

func TestStationEnrolment(t *testing.T) { onBothEngines(t, testStationEnrolment) }

func testStationEnrolment(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	key := newKey(t)
	first, err := r.admin.EnrollStation(t.Context(), "bay-1", key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.admin.EnrollStation(t.Context(), "bay-1", key)
	if err != nil || string(again.Certificate) != string(first.Certificate) {
		t.Errorf("the same key again got another certificate: %v", err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		key  crypto.Signer
		want api.ProblemType
	}{
		{"bay-1", newKey(t), api.ProblemStationConflict},
		{"bay-2", key, api.ProblemStationConflict},
		// They could never sign a record, so that nothing of theirs could leave.
		{"bay-3", p384, api.ProblemCsrInvalid},
		{"bay-4", rsa2048, api.ProblemCsrInvalid},
	} {
		_, err := r.admin.EnrollStation(t.Context(), row.name, row.key)
		var p *api.Problem
		if !errors.As(err, &p) || p.Type != row.want {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
	r.clock.advance(366 * 24 * time.Hour)
	renewed, err := r.admin.EnrollStation(t.Context(), "bay-1", key)
	if err != nil || string(renewed.Certificate) == string(first.Certificate) {
		t.Errorf("after expiry the same key got the old certificate: %v", err)
	}
}

func TestServerCertificateIsRenewedInTime(t *testing.T) {
	onBothEngines(t, testServerCertificateIsRenewedInTime)
}

func testServerCertificateIsRenewedInTime(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, func(c *central.Config) { c.ServerNames = []string{"central.example", "192.0.2.7"} })
	read := func() *x509.Certificate {
		c, err := keyfile.ReadCertificate(filepath.Join(r.dir, "tls", "server.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := read()
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "central.example", "192.0.2.7"} {
		if err := first.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	restart := func(skip time.Duration, names ...string) *x509.Certificate {
		r.stop()
		r.clock.advance(skip)
		r.start(func(c *central.Config) { c.ServerNames = names })
		return read()
	}
	if !restart(300*24*time.Hour, "central.example").Equal(first) {
		t.Error("renewed with 65 days left")
	}
	if restart(40*24*time.Hour, "central.example").Equal(first) {
		t.Error("not renewed with 25 days left")
	}
	if restart(0, "new.example").VerifyHostname("new.example") != nil {
		t.Error("a new name is not covered")
	}
}

// The log names units and problems, and nothing that identifies people or opens anything.
func TestTheLogHoldsNoSecretsOrNames(t *testing.T) { onBothEngines(t, testTheLogHoldsNoSecretsOrNames) }

func testTheLogHoldsNoSecretsOrNames(t *testing.T, e engine) {
	t.Parallel()
	var log lockedBuffer
	r := newRig(t, e, func(c *central.Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	w := r.station("bay-1").one("LOGGED").issued()
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	text := log.String()
	for _, want := range []string{`"operation":"PutResult"`, `"unit":"LOGGED-001"`, `"station":"bay-1"`, `"certificateSerial"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	for _, secret := range []string{r.srv.AdminToken(), "经办人甲", "收件人乙", "000-0000-0000", "example.com", testCompany, "user" + w.escrowID} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// openssl judges what the server made: the bundle, the chain, the extensions, TLS.
func TestOpenSSLAgrees(t *testing.T) { onBothEngines(t, testOpenSSLAgrees) }

func testOpenSSLAgrees(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	w := s.one("WITNESS").escrowed()
	c := must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	openssl := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "openssl", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", args[0], err, out)
		}
		return string(out)
	}
	certificates := openssl("pkcs7", "-inform", "DER", "-in", write("unit.p7b", c.Pkcs7), "-print_certs")
	if n := strings.Count(certificates, "BEGIN CERTIFICATE"); n != 2 {
		t.Fatalf("the bundle has %d certificates, want leaf and issuing CA", n)
	}
	_, rest, _ := strings.Cut(certificates, "-----BEGIN")
	leaf, issuer, _ := strings.Cut("-----BEGIN"+rest, "-----END CERTIFICATE-----")
	leafFile := write("leaf.pem", []byte(leaf+"-----END CERTIFICATE-----\n"))
	issuerFile := write("issuer.pem", []byte(issuer))
	root := write("root.pem", keyfile.CertificatePEM((*s.credential.CertificateTrust)[0]))
	openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", root, "-untrusted", issuerFile, leafFile)
	openssl("verify", "-x509_strict", "-purpose", "smimesign", "-CAfile", root, "-untrusted", issuerFile, leafFile)
	text := openssl("x509", "-in", leafFile, "-noout", "-text", "-nameopt", "utf8,sep_comma_plus")
	for _, want := range []string{
		"X509v3 Key Usage: critical\n                Digital Signature, Non Repudiation\n",
		"TLS Web Client Authentication, E-mail Protection\n",
		"X509v3 Basic Constraints: critical\n                CA:FALSE\n",
		"X509v3 Subject Key Identifier", "X509v3 Authority Key Identifier", "email:handler@example.com", testCompany,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the leaf lacks %q:\n%s", want, text)
		}
	}
	serial := strings.TrimSpace(strings.TrimPrefix(openssl("x509", "-in", leafFile, "-noout", "-serial"), "serial="))
	if !strings.EqualFold(serial, c.CertificateSerial) || len(serial) != 32 {
		t.Errorf("serial %s, reported %s", serial, c.CertificateSerial)
	}
	l, err := keyfile.ReadCertificate(leafFile)
	if err != nil {
		t.Fatal(err)
	}
	if !l.NotAfter.Equal(l.NotBefore.AddDate(1, 0, 0)) || !l.NotBefore.Before(time.Now()) {
		t.Errorf("valid from %s to %s", l.NotBefore, l.NotAfter)
	}
	station := write("station.pem", keyfile.CertificatePEM(s.credential.Certificate))
	serverRoot := write("central-root.pem", keyfile.CertificatePEM(s.credential.ServerTrust))
	openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", serverRoot, station)
	openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", serverRoot, filepath.Join(r.dir, "tls", "server.pem"))
}
