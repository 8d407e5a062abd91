package agent

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// mutual is a transport with mutual TLS whose certificate may be exchanged while it
// works.
type mutual struct {
	roots      *x509.CertPool
	credential atomic.Pointer[tls.Certificate]
	transport  atomic.Pointer[http.Transport]
}

func newMutual(credential tls.Certificate, roots *x509.CertPool) *mutual {
	m := &mutual{roots: roots}
	m.credential.Store(&credential)
	m.transport.Store(m.connections())
	return m
}

func (m *mutual) connections() *http.Transport {
	return &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: m.roots,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.credential.Load(), nil },
		},
		ForceAttemptHTTP2: true,
		// Short, so that the next server is tried while the lease still holds.
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   tlsHandshake,
		ResponseHeaderTimeout: 40 * time.Second, // a long poll of 25 s and some
		IdleConnTimeout:       90 * time.Second,
	}
}

// tlsHandshake has room for a TPM that signs slowly.
const tlsHandshake = 10 * time.Second

// use shows another certificate from now on. Requests that are under way end on their
// old connections, which nobody uses again.
func (m *mutual) use(credential tls.Certificate) {
	m.credential.Store(&credential)
	m.transport.Swap(m.connections()).CloseIdleConnections()
}

// RoundTrip implements http.RoundTripper.
func (m *mutual) RoundTrip(req *http.Request) (*http.Response, error) {
	return m.transport.Load().RoundTrip(req)
}

// CloseIdleConnections closes what is open and not in use.
func (m *mutual) CloseIdleConnections() { m.transport.Load().CloseIdleConnections() }
