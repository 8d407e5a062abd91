package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Central is the client of the central server. It implements provision.Central.
type Central struct {
	api  *api.Client
	http *http.Client
	// station is this station's name, the Common Name in its certificate, leaf.
	station string
	leaf    atomic.Pointer[x509.Certificate]
	key     crypto.PrivateKey
	// mutual shows the certificate; nil over a transport of the caller's.
	mutual *mutual
	// doubted says that the server has not taken the certificate; doubt wakes who renews it.
	doubted atomic.Bool
	doubt   chan struct{}
	// answered is when the server last gave an answer of the contract, in Unix nanoseconds.
	answered atomic.Int64
	// ahead is by how much its clock is before ours, as it last answered, in nanoseconds.
	ahead atomic.Int64
}

// ErrForbidden says that the central server does not accept this station at all.
const ErrForbidden = provision.Sentinel("the central server does not accept this station")

// collectWait is the length of a long poll for a certificate, in seconds.
const collectWait = 20

// quickCall bounds a call that waits for nothing, from dialling to the last byte of
// the answer; a long poll has its wait on top.
const quickCall = 20 * time.Second

// maxAnswer bounds what is read of an answer: a claim of 256 leases is about 200 KB.
const maxAnswer = 4 << 20

// NewCentral makes a client for the servers at urls, which are tried in turn when
// one cannot be reached. credential is the station's certificate and key, roots
// those under which the servers' certificates stand.
func NewCentral(urls []string, credential tls.Certificate, roots *x509.CertPool) (*Central, error) {
	m := newMutual(credential, roots)
	c, err := NewCentralOver(urls, credential, m)
	if err != nil {
		return nil, err
	}
	c.mutual = m
	return c, nil
}

// NewCentralOver makes a client that reaches the servers over a transport of the
// caller's, which has to show the credential.
func NewCentralOver(urls []string, credential tls.Certificate, transport http.RoundTripper) (*Central, error) {
	if len(urls) == 0 {
		return nil, errors.New("no central server is configured")
	}
	bases := make([]*url.URL, len(urls))
	for i, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("central server: %w", err)
		}
		if u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("central server %q: want https://host[:port]", s)
		}
		bases[i] = u
	}
	doer := &http.Client{
		Transport: &failover{bases: bases, next: transport},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the central server redirects, which the contract does not know")
		},
	}
	client, err := api.NewClient("https://central.invalid/v1", api.WithHTTPClient(doer))
	if err != nil {
		return nil, err
	}
	c := &Central{api: client, http: doer, key: credential.PrivateKey, doubt: make(chan struct{}, 1)}
	if len(credential.Certificate) == 0 {
		return c, nil // a station that is yet to be enrolled
	}
	leaf, err := x509.ParseCertificate(credential.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("the station's certificate: %w", err)
	}
	c.station = leaf.Subject.CommonName
	c.leaf.Store(leaf)
	return c, nil
}

// Close closes the connections that are open and not in use.
func (c *Central) Close() { c.http.CloseIdleConnections() }

// failover sends each request to the server that answered last, and moves on to
// the next one when it cannot be reached. It also bounds every answer.
type failover struct {
	bases   []*url.URL
	next    http.RoundTripper
	current atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (f *failover) RoundTrip(req *http.Request) (*http.Response, error) {
	what := crashpoint.Request(req.Method, req.URL.Path)
	at := f.current.Load()
	base := f.bases[int(at)%len(f.bases)]
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = base.Scheme, base.Host
	// A base may be written with or without the contract's version.
	req.URL.Path = strings.TrimSuffix(strings.TrimRight(base.Path, "/"), "/v1") + req.URL.Path
	req.Host = ""
	crashpoint.Before(what)
	resp, err := f.next.RoundTrip(req)
	crashpoint.After(what)
	if err != nil {
		// Whoever gave up by himself says nothing about the server; one that let the time
		// of a call go by is as good as gone.
		if !errors.Is(req.Context().Err(), context.Canceled) {
			f.current.CompareAndSwap(at, at+1)
		}
		return nil, fmt.Errorf("central server %s: %w", base.Host, explainTLS(err))
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// CloseIdleConnections lets http.Client close what is open and not in use.
func (f *failover) CloseIdleConnections() {
	if t, ok := f.next.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// explainTLS says what a certificate error means for whoever runs the station.
func explainTLS(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("its certificate does not stand under central.trust; nothing was sent: %w", err)
	case errors.As(err, &host):
		return fmt.Errorf("its certificate is for another name; nothing was sent: %w", err)
	case errors.As(err, &invalid):
		return fmt.Errorf("its certificate cannot be used; nothing was sent: %w", err)
	}
	return err
}

// call takes an answer. One of the wanted statuses is fine; what a 200 or 202
// holds is for decode to judge. Every other answer becomes an error, mapped once, here.
func (c *Central) call(resp *http.Response, err error, decode func(status int, body []byte) error, want ...int) (int, error) {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // it would name the placeholder that failover puts the server's address in place of
	}
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return 0, fmt.Errorf("answer of the central server: %w", err)
	}
	for _, w := range want {
		if resp.StatusCode != w {
			continue
		}
		if len(body) > 0 && !api.IsJSON(resp.Header) {
			return 0, api.ReadProblem(resp, body)
		}
		if w == http.StatusOK || w == http.StatusAccepted {
			// An empty 200 is some gateway's; it does not say that anything was done.
			if err := decode(w, body); err != nil {
				return 0, fmt.Errorf("answer of the central server cannot be used: %w", err)
			}
		}
		now := time.Now()
		c.answered.Store(now.UnixNano())
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			c.ahead.Store(int64(date.Sub(now)))
		}
		return w, nil
	}
	p := api.ReadProblem(resp, body)
	if p.Type == api.ProblemUnauthenticated {
		c.distrusted()
	}
	return 0, domainError(p)
}

// silence is how long the server has given no answer of the contract.
func (c *Central) silence() time.Duration { return time.Since(time.Unix(0, c.answered.Load())) }

// domainError is the one place where a problem type becomes an error of the pipeline.
func domainError(p *api.Problem) error {
	switch p.Type {
	case api.ProblemStaleEpoch:
		return fmt.Errorf("%w: %w", provision.ErrLeaseLost, p)
	case api.ProblemCancelled:
		return fmt.Errorf("%w: %w", provision.ErrCancelled, p)
	case api.ProblemUnauthenticated, api.ProblemForbidden, api.ProblemProtocolUnsupported, api.ProblemSessionConflict:
		return fmt.Errorf("%w: %w", ErrForbidden, p)
	}
	if p.Type != "" && !p.Retryable && p.Type != api.ProblemSessionUnknown && p.Type != api.ProblemInternal {
		return fmt.Errorf("%w: %w", provision.ErrRefused, p)
	}
	return p
}

func isProblem(err error, t api.ProblemType) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Type == t
}

// Escrow implements provision.Central. The answer must name what is in escrow.
func (c *Central) Escrow(ctx context.Context, e provision.Escrow) error {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	resp, err := c.api.PutEscrow(ctx, e.ID, api.EscrowRequest{UnitId: e.UnitID, Epoch: e.Epoch, SealedSoPin: e.Envelope, Recipients: e.Recipients})
	_, err = c.call(resp, err, func(_ int, body []byte) error {
		var in api.Escrow
		if err := unmarshal(body, &in); err != nil {
			return err
		}
		if want := sha256.Sum256(e.Envelope); in.EscrowId != e.ID || in.Sha256 != hex.EncodeToString(want[:]) {
			return fmt.Errorf("it has escrow %q with SHA-256 %s, not what was sent", in.EscrowId, in.Sha256)
		}
		return nil
	}, http.StatusOK)
	return wrap("escrow of the SO PIN", err)
}

// NameEscrow implements provision.Central.
func (c *Central) NameEscrow(ctx context.Context, escrowID string, serial pkcs11.TokenSerial) error {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	resp, err := c.api.PutEscrowToken(ctx, escrowID, api.EscrowTokenRequest{TokenSerial: string(serial)})
	_, err = c.call(resp, err, func(_ int, body []byte) error {
		var in api.Escrow
		if err := unmarshal(body, &in); err != nil {
			return err
		}
		if in.EscrowId != escrowID || in.TokenSerial == nil || *in.TokenSerial != string(serial) {
			return fmt.Errorf("it does not name token %s for escrow %s", serial, escrowID)
		}
		return nil
	}, http.StatusOK)
	return wrap("token of the escrow", err)
}

// Bind implements provision.Central.
func (c *Central) Bind(ctx context.Context, b provision.Bind) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	resp, err := c.api.PutCsr(ctx, b.UnitID, int32(b.Generation), api.CsrRequest{
		Epoch: b.Epoch, Csr: b.CSR, TokenSerial: string(b.TokenSerial), TokenModel: b.TokenModel,
		KeyId: b.KeyID.String(), EscrowId: b.EscrowID,
	})
	bundle, err := c.issued(resp, err)
	for _, t := range []api.ProblemType{api.ProblemStaleEpoch, api.ProblemCsrInvalid, api.ProblemKeyReused, api.ProblemEscrowConflict, api.ProblemInvalidContent} {
		if isProblem(err, t) {
			err = fmt.Errorf("%w: %w", provision.ErrNotBound, err)
		}
	}
	return bundle, wrap("certification request", err)
}

// Collect implements provision.Central. A server that does not wait is asked no
// more often than it wants to be.
func (c *Central) Collect(ctx context.Context, unitID string, generation int) ([]byte, error) {
	wait := collectWait
	begun := time.Now()
	poll, cancel := context.WithTimeout(ctx, collectWait*time.Second+quickCall)
	defer cancel()
	resp, err := c.api.GetCertificate(poll, unitID, int32(generation), &api.GetCertificateParams{Wait: &wait})
	bundle, err := c.issued(resp, err)
	if err == nil && bundle == nil {
		err = pause(ctx, retryAfter(resp)-time.Since(begun))
	}
	return bundle, wrap("certificate", err)
}

// retryAfter is how long the server wants to be left alone, in seconds (RFC 9110,
// 10.2.3); without that, or with nonsense, a second.
func retryAfter(resp *http.Response) time.Duration {
	const most = time.Minute
	n, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || n < 1 {
		n = 1
	}
	return min(time.Duration(n)*time.Second, most)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// issued decodes an answer that holds the certificate, or says that it is not there yet.
func (c *Central) issued(resp *http.Response, err error) ([]byte, error) {
	var cert api.IssuedCertificate
	status, err := c.call(resp, err, func(status int, body []byte) error {
		if status == http.StatusAccepted {
			return nil
		}
		if err := unmarshal(body, &cert); err != nil {
			return err
		}
		if len(cert.Pkcs7) == 0 {
			return errors.New("it holds no PKCS#7")
		}
		return nil
	}, http.StatusOK, http.StatusAccepted)
	if err != nil || status == http.StatusAccepted {
		return nil, err
	}
	return cert.Pkcs7, nil
}

// Report delivers one report of the outbox and returns what was answered, for people.
func (c *Central) Report(ctx context.Context, r provision.Report) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	var state api.UnitState
	decode := func(_ int, body []byte) error {
		if err := unmarshal(body, &state); err != nil {
			return err
		}
		if state.UnitId != r.UnitID || int(state.Generation) < r.Generation || r.Outcome == provision.OutcomeInstalled && state.State == api.ISSUED {
			return fmt.Errorf("it says that unit %q, generation %d is %s", state.UnitId, state.Generation, state.State)
		}
		return nil
	}
	if r.Kind == provision.ReportRelease {
		return c.release(ctx, r.UnitID, r.Epoch, api.ReleaseRequestReason(r.Release), r.Reason)
	}
	if r.Kind == provision.ReportMailer {
		resp, err := c.api.PutMailer(ctx, r.UnitID, int32(r.Generation), api.MailerRequest{ConfirmedBy: r.ConfirmedBy})
		_, err = c.call(resp, err, decode, http.StatusOK)
		return string(state.State), wrap("mailer of unit "+r.UnitID, err)
	}
	if r.Kind == provision.ReportShipment {
		resp, err := c.api.PutShipment(ctx, r.UnitID, api.ShipmentRequest{Generation: int32(r.Generation), Waybill: r.Waybill, Scans: r.Scans, PackedBy: r.PackedBy})
		_, err = c.call(resp, err, decode, http.StatusOK)
		return string(state.State), wrap("shipment of unit "+r.UnitID, err)
	}
	req := api.ResultRequest{Epoch: r.Epoch, Outcome: api.ResultRequestOutcome(r.Outcome), TokenSerial: string(r.TokenSerial)}
	req.Reason, req.TokenLabel = optional(clip(r.Reason, 1000)), optional(string(r.TokenLabel))
	req.KeyId, req.EscrowId = optional(r.KeyID.String()), optional(r.EscrowID)
	req.CertificateSerial, req.CertificateSha256 = optional(r.CertificateSerial), optional(r.CertificateSHA256)
	if r.Delivery != "" && r.Delivery != provision.DeliverSealed {
		delivery := api.PinDelivery(r.Delivery)
		req.PinDelivery = &delivery
	}
	if len(r.UserPINEnvelope) > 0 {
		req.SealedUserPin, req.UserPinRecipients = &r.UserPINEnvelope, &r.UserPINRecipients
	}
	seconds := r.Busy.Seconds()
	req.Seconds = &seconds
	resp, err := c.api.PutResult(ctx, r.UnitID, int32(r.Generation), req)
	if _, err := c.call(resp, err, decode, http.StatusOK); err != nil {
		return "", wrap("result of unit "+r.UnitID, err)
	}
	return string(state.State), nil
}

func (c *Central) release(ctx context.Context, unitID string, epoch int64, reason api.ReleaseRequestReason, detail string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	var state api.UnitState
	resp, err := c.api.PostRelease(ctx, unitID, api.ReleaseRequest{Epoch: epoch, Reason: reason, Detail: optional(clip(detail, 500))})
	_, err = c.call(resp, err, func(_ int, body []byte) error {
		if err := unmarshal(body, &state); err != nil {
			return err
		}
		if state.UnitId != unitID {
			return fmt.Errorf("it speaks of unit %q", state.UnitId)
		}
		return nil
	}, http.StatusOK)
	return string(state.State), wrap("release of unit "+unitID, err)
}

// trust fetches the certificates of those to whom PINs may be sealed.
func (c *Central) trust(ctx context.Context) (api.Trust, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	var t api.Trust
	resp, err := c.api.GetTrust(ctx)
	_, err = c.call(resp, err, func(_ int, body []byte) error { return unmarshal(body, &t) }, http.StatusOK)
	return t, wrap("recipients of PINs", err)
}

func (c *Central) session(ctx context.Context, req api.SessionRequest) (api.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	var s api.Session
	resp, err := c.api.PutSession(ctx, req)
	_, err = c.call(resp, err, func(_ int, body []byte) error {
		if err := unmarshal(body, &s); err != nil {
			return err
		}
		if s.SessionId == "" || s.HeartbeatSeconds < 1 || s.LeaseSeconds < 1 {
			return fmt.Errorf("session %q with heartbeats every %d s and leases of %d s", s.SessionId, s.HeartbeatSeconds, s.LeaseSeconds)
		}
		return nil
	}, http.StatusOK)
	return s, wrap("session", err)
}

// claim returns no lease when there is nothing to do, and then how long to leave
// the server alone.
func (c *Central) claim(ctx context.Context, key string, wait int, req api.ClaimRequest) ([]api.Lease, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(wait)*time.Second+quickCall)
	defer cancel()
	var answer api.ClaimAnswer
	resp, err := c.api.PostClaims(ctx, &api.PostClaimsParams{Wait: &wait, IdempotencyKey: &key}, req)
	var after time.Duration
	if err == nil && resp.StatusCode == http.StatusNoContent {
		after = retryAfter(resp)
	}
	_, err = c.call(resp, err, func(_ int, body []byte) error { return unmarshal(body, &answer) }, http.StatusOK, http.StatusNoContent)
	return answer.Leases, after, wrap("claim", err)
}

func (c *Central) heartbeat(ctx context.Context, req api.HeartbeatRequest) (api.HeartbeatAnswer, error) {
	// Short: a lease is four heartbeats long.
	ctx, cancel := context.WithTimeout(ctx, quickCall/2)
	defer cancel()
	var answer api.HeartbeatAnswer
	resp, err := c.api.PostHeartbeat(ctx, req)
	_, err = c.call(resp, err, func(_ int, body []byte) error { return unmarshal(body, &answer) }, http.StatusOK)
	return answer, wrap("heartbeat", err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// clip cuts s to n characters, the contract's unit of maxLength.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func unmarshal(body []byte, into any) error {
	return newDecoder(bytes.NewReader(body)).Decode(into)
}
