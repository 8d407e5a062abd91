package central_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central"
)

// shown is the certificate that a server shows to a new connection.
func (r *rig) shown() *x509.Certificate {
	r.t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // what it is, is looked at
	conn, err := d.DialContext(r.t.Context(), "tcp", strings.TrimSuffix(strings.TrimPrefix(r.srv.StationURL(), "https://"), "/v1"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// A server that runs for longer than its certificate is good for has a new one in time.
func TestCertificateOfALongLife(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r := newRig(t, postgresNot, func(c *central.Config) { c.Logger = slog.New(slog.NewTextHandler(f, nil)) })
	s := r.station("bay-1")
	first := r.shown()
	renew := func() {
		t.Helper()
		if err := r.srv.RenewCertificate(); err != nil {
			t.Fatal(err)
		}
	}
	renew()
	if again := r.shown(); !again.Equal(first) {
		t.Errorf("a new certificate although the first is good until %s", first.NotAfter)
	}
	r.clock.advance(336 * 24 * time.Hour)
	renew()
	if later := r.shown(); later.NotAfter.Before(r.clock.now().AddDate(0, 11, 0)) {
		t.Errorf("on %s a certificate is shown that is good until %s", r.clock.now(), later.NotAfter)
	}
	if said, err := os.ReadFile(log); err != nil || strings.Count(string(said), "new certificate of its own") != 1 {
		t.Errorf("that it is renewed once is not said: %v\n%s", err, said)
	}
	// Who is connected goes on.
	if a := s.send(http.MethodGet, "/trust", nil); a.status != http.StatusOK {
		t.Errorf("%v", a)
	}
}
