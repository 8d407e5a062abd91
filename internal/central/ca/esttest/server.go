// Package esttest is an EST server (RFC 7030) for tests, on the loopback, with a CA
// of its own, that behaves as it is told. It owns what a server does on the wire,
// rightly and wrongly; what a client makes of that it must not know.
package esttest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
)

// The credential for HTTP basic, where the server wants one.
const (
	Username = "usbkey-central"
	Password = "长城 pass:word"
)

// Server is one EST server. Fields are set before the first request.
type Server struct {
	// Label is the arbitrary label under which it answers; empty for none.
	Label string
	// Basic makes it want HTTP basic beside the client certificate.
	Basic bool
	// OneLine makes it answer in base64 without line breaks.
	OneLine bool
	// URL is its origin, ServerTrust what its TLS certificate stands under, Client a
	// certificate that it accepts, Roots what its CA's certificates stand under.
	URL         string
	ServerTrust []*x509.Certificate
	Client      *tls.Certificate
	Roots       []*x509.Certificate

	t                  testing.TB
	root, issuer       *authority
	tlsRoot, usersRoot *authority
	stopping           chan struct{}

	mu      sync.Mutex
	answer  Answer
	asked   map[string]int
	made    map[string][]*x509.Certificate
	renewed int
}

// New starts a server that behaves; it stops when the test ends.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		t: t, answer: Issue, stopping: make(chan struct{}),
		asked: make(map[string]int), made: make(map[string][]*x509.Certificate),
		root: newAuthority(t, "sample customers' root", nil), tlsRoot: newAuthority(t, "sample EST server root", nil),
		usersRoot: newAuthority(t, "sample EST client root", nil),
	}
	s.issuer = newAuthority(t, "sample customers' issuing CA", s.root)
	s.Roots, s.ServerTrust = []*x509.Certificate{s.root.cert}, []*x509.Certificate{s.tlsRoot.cert}
	s.Client = s.ClientUntil(time.Now().Add(24 * time.Hour))
	clients := x509.NewCertPool()
	clients.AddCert(s.usersRoot.cert)
	h := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		Certificates: []tls.Certificate{*s.tlsRoot.pair(x509.ExtKeyUsageServerAuth, time.Now().Add(24*time.Hour))},
	}
	h.StartTLS()
	s.URL = h.URL
	t.Cleanup(func() {
		close(s.stopping)
		h.CloseClientConnections()
		h.Close()
	})
	return s
}

// ClientUntil is a client certificate with another end.
func (s *Server) ClientUntil(end time.Time) *tls.Certificate {
	return s.usersRoot.pair(x509.ExtKeyUsageClientAuth, end)
}

// Do changes how it answers enrolments from now on.
func (s *Server) Do(a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = a
}

// Asked is how many enrolments reached the server for a request, in DER.
func (s *Server) Asked(request []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[string(request)]
}

// Made are the certificates that the CA made for a request, whether they were sent or not.
func (s *Server) Made(request []byte) []*x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[string(request)]
}

// Renewed is how many enrolments were renewals.
func (s *Server) Renewed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewed
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	base := "/.well-known/est/"
	if s.Label != "" {
		base += s.Label + "/"
	}
	operation, ok := strings.CutPrefix(r.URL.Path, base)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if user, password, _ := r.BasicAuth(); s.Basic && (user != Username || password != Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="estrealm"`)
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	switch {
	case operation == "cacerts" && r.Method == http.MethodGet:
		s.send(w, s.issuer.cert, s.root.cert)
	case (operation == "simpleenroll" || operation == "simplereenroll") && r.Method == http.MethodPost:
		s.enroll(w, r, operation == "simplereenroll")
	default:
		http.NotFound(w, r)
	}
}

// enroll checks the request as RFC 7030, 4.2.1, has it, and answers as it is told.
func (s *Server) enroll(w http.ResponseWriter, r *http.Request, renewal bool) {
	if r.Header.Get("Content-Type") != "application/pkcs10" {
		http.Error(w, "the body must be application/pkcs10", http.StatusUnsupportedMediaType)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		return
	}
	der, err := base64.StdEncoding.DecodeString(string(text)) // line breaks are allowed
	if err != nil {
		http.Error(w, "the body is not base64", http.StatusBadRequest)
		return
	}
	request, err := csr.ParseRequest(der)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.asked[string(der)]++
	if renewal {
		s.renewed++
	}
	answer := s.answer
	s.mu.Unlock()
	answer(&Exchange{Server: s, W: w, R: r, Request: request})
}

// send answers with certificates as RFC 7030, 4.2.3, has it.
func (s *Server) send(w http.ResponseWriter, certs ...*x509.Certificate) {
	der, err := csr.EncodeBundle(certs)
	if err != nil {
		s.t.Error(err)
	}
	s.sendDER(w, der)
}

func (s *Server) sendDER(w http.ResponseWriter, der []byte) {
	w.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	w.Header().Set("Content-Transfer-Encoding", "base64")
	text := base64.StdEncoding.EncodeToString(der)
	for n := 64; !s.OneLine && len(text) > n; text = text[n:] {
		_, _ = io.WriteString(w, text[:n]+"\r\n") // the client is gone: its test tells
	}
	_, _ = io.WriteString(w, text)
}
