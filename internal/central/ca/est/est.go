// Package est asks a CA for certificates by Enrollment over Secure Transport (RFC
// 7030): /cacerts, /simpleenroll and /simplereenroll, as a registration authority
// that sends on the requests of others.
//
// It owns what goes over the wire and what each answer means. It must not know
// units, or who decides what happens after an answer that means nothing certain.
//
// EST has no way to ask what was issued, nor to revoke: CanLookup and CanRevoke
// are false. So this package takes care to say exactly when a request certainly
// did not reach the CA. Every exchange begins with GET /cacerts on the connection
// on which the request will follow: it brings the issuing certificates, and it
// shows that the server is there, is the right one and lets us in.
package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

const (
	defaultTimeout = 30 * time.Second
	// maxBody bounds what is read of an answer: a bundle in base64 with line breaks.
	maxBody = 2 * csr.MaxBundle
	// maxHeader bounds an answer's header.
	maxHeader = 32 << 10
	// lineLength is that of MIME base64 (RFC 2045, 6.8), which some servers insist on.
	lineLength = 76
)

// CA is the client of one EST server. Its methods are safe for use by many goroutines.
type CA struct{ cfg Config }

var _ ca.CA = (*CA)(nil)

// New makes a client; nothing is sent yet.
func New(cfg Config) (*CA, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if fault := badOrigin(cfg.Server); fault != "" {
		return nil, fmt.Errorf("EST server %q: it %s", cfg.Server, fault)
	}
	if len(cfg.ServerTrust) == 0 || len(cfg.Roots) == 0 {
		return nil, errors.New("EST: trust anchors of the server and of what it issues are required")
	}
	return &CA{cfg: cfg}, nil
}

// CanLookup implements ca.CA.
func (c *CA) CanLookup() bool { return false }

// Lookup implements ca.CA.
func (c *CA) Lookup(context.Context, string) (ca.Certificate, bool, error) {
	return ca.Certificate{}, false, fmt.Errorf("look up at an EST server: %w", ca.ErrUnsupported)
}

// CanRevoke implements ca.CA.
func (c *CA) CanRevoke() bool { return false }

// Revoke implements ca.CA.
func (c *CA) Revoke(context.Context, ca.Revocation) error {
	return fmt.Errorf("revoke at an EST server: %w", ca.ErrUnsupported)
}

// Roots implements ca.CA.
func (c *CA) Roots() []*x509.Certificate { return c.cfg.Roots }

// Issue implements ca.CA.
func (c *CA) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	request, err := csr.ParseRequest(r.CSR)
	if err != nil {
		return ca.Certificate{}, &ca.RefusedError{Reason: err.Error()}
	}
	link := c.connect()
	defer link.close()
	known, err := link.caCertificates(ctx)
	if err != nil {
		return ca.Certificate{}, &ca.PendingError{Reason: fmt.Sprintf("the EST server does not answer as it should, and was not asked for a certificate: %v", err)}
	}
	operation := "simpleenroll"
	if r.Renewal {
		operation = "simplereenroll"
	}
	answer, sent, err := link.do(ctx, http.MethodPost, operation, body(r.CSR))
	switch {
	case err != nil && !sent:
		return ca.Certificate{}, &ca.PendingError{Reason: fmt.Sprintf("the EST server is not reached: %v", err)}
	case err != nil:
		return ca.Certificate{}, fmt.Errorf("EST %s: %w", operation, err)
	}
	if err := decide(answer, c.cfg.Clock()); err != nil {
		return ca.Certificate{}, fmt.Errorf("EST %s: %w", operation, err)
	}
	certs, err := bundle(answer)
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("EST %s: %w", operation, err)
	}
	cert, err := ca.Assemble(request.PublicKey, certs, known, c.cfg.Roots)
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("EST %s: %w", operation, err)
	}
	return cert, nil
}

// Check reads /cacerts without asking for anything, and says what it found. An
// error means that issuing would not work either.
func (c *CA) Check(ctx context.Context) ([]string, error) {
	link := c.connect()
	defer link.close()
	certs, err := link.caCertificates(ctx)
	if err != nil {
		return nil, fmt.Errorf("EST server %s: %w", c.cfg.Server, err)
	}
	said := []string{fmt.Sprintf("EST server %s answers and is the one that serverTrust names.", c.cfg.Server)}
	anchored := false
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	for _, r := range c.cfg.Roots {
		pool.AddCert(r)
	}
	for _, cert := range certs {
		between.AddCert(cert)
	}
	for _, cert := range certs {
		_, err := cert.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: c.cfg.Clock(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		under := "stands under the configured roots"
		if err != nil {
			under = "does NOT stand under the configured roots"
		}
		anchored = anchored || err == nil
		said = append(said, fmt.Sprintf("/cacerts: %s, until %s, %s.", ca.NameText(cert.Subject), cert.NotAfter.UTC().Format(time.DateOnly), under))
	}
	if c.cfg.Client != nil && c.cfg.Client.Leaf != nil {
		left := c.cfg.Client.Leaf.NotAfter.Sub(c.cfg.Clock())
		said = append(said, fmt.Sprintf("The client certificate is valid for %d more days.", int(left.Hours()/24)))
		if left <= 0 {
			return said, errors.New("the client certificate has expired")
		}
	}
	if !anchored {
		return said, errors.New("none of the server's CA certificates stands under the configured roots: what it issues would be refused at the stations")
	}
	return said, nil
}

// link is one connection to the server, for one enrolment. It is not shared, so
// that nothing is ever sent a second time behind our back because a connection
// that lay idle had gone.
type link struct {
	cfg       Config
	client    *http.Client
	transport *http.Transport
}

func (c *CA) connect() *link {
	pool := x509.NewCertPool()
	for _, cert := range c.cfg.ServerTrust {
		pool.AddCert(cert)
	}
	t := &http.Transport{
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Time: c.cfg.Clock},
		MaxConnsPerHost:        1,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
	}
	if c.cfg.Client != nil {
		// Whatever CAs the server hints at: this is the one we are known by.
		t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cfg.Client, nil }
	}
	return &link{cfg: c.cfg, transport: t, client: &http.Client{
		Transport: t, Timeout: c.cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (l *link) close() { l.transport.CloseIdleConnections() }

// answer is what came back, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes one exchange. sent is false when certainly nothing was sent: no
// connection stood, with its TLS handshake done.
func (l *link) do(ctx context.Context, method, operation string, content []byte) (a answer, sent bool, err error) {
	target := l.cfg.Server + "/.well-known/est/"
	if l.cfg.Label != "" {
		target += l.cfg.Label + "/"
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	var in io.Reader
	if content != nil {
		in = io.NopCloser(bytes.NewReader(content)) // of no kind that net/http would rewind and send again
	}
	req, err := http.NewRequestWithContext(ctx, method, target+operation, in)
	if err != nil {
		return answer{}, false, err
	}
	if content != nil {
		req.ContentLength = int64(len(content))
		req.Header.Set("Content-Type", "application/pkcs10")
		req.Header.Set("Content-Transfer-Encoding", "base64")
	}
	if l.cfg.Username != "" {
		req.SetBasicAuth(l.cfg.Username, l.cfg.Password)
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return answer{}, sent, err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it is wanted
	a = answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1)); err != nil {
		return answer{}, true, fmt.Errorf("read the answer: %w", err)
	}
	if len(a.body) > maxBody {
		return answer{}, true, fmt.Errorf("the answer is larger than %d bytes", maxBody)
	}
	return a, true, nil
}

// caCertificates asks for /cacerts (RFC 7030, 4.1).
func (l *link) caCertificates(ctx context.Context) ([]*x509.Certificate, error) {
	a, _, err := l.do(ctx, http.MethodGet, "cacerts", nil)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("/cacerts: %s", describe(a))
	}
	certs, err := bundle(a)
	if err != nil {
		return nil, fmt.Errorf("/cacerts: %w", err)
	}
	return certs, nil
}

// ErrContentType says that an answer is of a type that EST does not have there.
var ErrContentType = errors.New("the answer is not application/pkcs7-mime")

// bundle reads a certs-only answer (RFC 7030, 4.1.3 and 4.2.3). The smime-type may
// be left out; another one than certs-only is refused.
func bundle(a answer) ([]*x509.Certificate, error) {
	kind, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	smime, given := params["smime-type"]
	if err != nil || kind != "application/pkcs7-mime" || given && !strings.EqualFold(smime, "certs-only") {
		return nil, fmt.Errorf("%w: %q", ErrContentType, clip(a.header.Get("Content-Type"), 100))
	}
	return csr.DecodeBundleBase64(a.body)
}

// body is the base64 of RFC 7030, 4.2.1, in lines.
func body(der []byte) []byte {
	var out bytes.Buffer
	for text := base64.StdEncoding.EncodeToString(der); text != ""; {
		n := min(len(text), lineLength)
		out.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	return out.Bytes()
}
