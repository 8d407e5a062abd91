package stationload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

const (
	// pollSeconds is the contract's longest poll.
	pollSeconds = 25
	maxAnswer   = 1 << 20
	// firstPause is before the second attempt to reach a server; it doubles up to
	// maxPause, and is spread by chance, as a real station does it.
	firstPause = 500 * time.Millisecond
	maxPause   = 8 * time.Second
)

// Station is one simulated station.
type Station struct {
	name      string
	fleet     *Fleet
	client    *api.Client
	transport *http.Transport
	instance  string
	session   string
	key       string // the claim's, kept until it is answered
	held      []api.Lease
}

func newStation(f *Fleet, name, url string, roots *x509.CertPool, credential tls.Certificate) (*Station, error) {
	s := &Station{name: name, fleet: f, instance: uuid.NewString()}
	s.transport = &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{credential}},
		ForceAttemptHTTP2: true,
	}
	var err error
	if s.client, err = api.NewClient(url, api.WithHTTPClient(&http.Client{Transport: s.transport})); err != nil {
		return nil, fmt.Errorf("station %s: %w", name, err)
	}
	return s, nil
}

// run polls for work and does it until ctx ends.
func (s *Station) run(ctx context.Context) {
	for ctx.Err() == nil {
		turn, err := s.fleet.next(ctx)
		if err != nil {
			return
		}
		held := s.held
		if !s.fleet.holding.Load() {
			s.held = nil
			for _, l := range held {
				s.live(ctx, l)
			}
		}
		if s.session == "" && !s.openSession(ctx) {
			return
		}
		s.claim(ctx, turn)
	}
}

func (s *Station) openSession(ctx context.Context) bool {
	var session api.Session
	began := time.Now()
	ok := s.persist(ctx, Session, func() (*http.Response, error) {
		return s.client.PutSession(ctx, api.SessionRequest{
			InstanceId: s.instance, BootId: "boot-1", ProtocolVersion: api.ProtocolVersion, Version: "load",
			Slots: []api.SlotCapability{{TokenModel: "simulated", Algorithms: []string{"ec-p256"}, WorstKeyGenerationSeconds: 60}},
		})
	}, &session)
	if ok {
		s.session = session.SessionId
		record := s.fleet.record.Load()
		record.add(Session, began)
		record.opened(s.name)
	}
	return ok
}

// claim polls once. A claim that was broken off keeps its key, so that what it was given
// meanwhile is not lost.
func (s *Station) claim(ctx, turn context.Context) {
	if s.key == "" {
		s.key = uuid.NewString()
	}
	calling, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(turn, cancel)()
	polling := false
	defer func() {
		if polling {
			s.fleet.polling.Add(-1)
		}
	}()
	sent := time.Now()
	written := make(chan struct{}, 1)
	traced := httptrace.WithClientTrace(calling, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			select {
			case written <- struct{}{}:
				s.fleet.polling.Add(1)
			default:
			}
		}
	}})
	wait := pollSeconds
	resp, err := s.client.PostClaims(traced, &api.PostClaimsParams{Wait: &wait, IdempotencyKey: &s.key},
		api.ClaimRequest{SessionId: s.session, Max: 1, Products: []api.ProductCode{product}})
	select {
	case <-written:
		polling = true
	default:
		written <- struct{}{} // whatever is written from now on does not count
	}
	if turn.Err() != nil && err != nil || ctx.Err() != nil {
		return
	}
	var answer api.ClaimAnswer
	status, err := s.take(resp, err, &answer)
	if turn.Err() != nil && err != nil {
		return
	}
	switch {
	case status == http.StatusNoContent:
		s.key = ""
		_ = sleep(calling, retryAfter(resp)-time.Since(sent))
	case status == http.StatusOK && err == nil:
		s.key = ""
		if polling {
			s.fleet.polling.Add(-1)
			polling = false
		}
		for _, l := range answer.Leases {
			s.fleet.ledger.lease(l.UnitId, s.name)
			s.fleet.record.Load().add(Claim, s.fleet.since(l.OrderId, sent))
			if s.fleet.holding.Load() {
				s.held = append(s.held, l)
			} else {
				s.live(ctx, l)
			}
		}
	default:
		s.refused(status, resp, fmt.Sprintf("%s of %s: %d %v", Claim, s.name, status, err))
		if resp == nil {
			s.session = "" // it comes back as after a start
		}
		_ = sleep(calling, max(retryAfter(resp), spread(firstPause)))
	}
}

// live takes a unit from its lease to its result.
func (s *Station) live(ctx context.Context, l api.Lease) {
	request, err := s.fleet.supply.take()
	if err != nil {
		s.fleet.ledger.fail(err.Error())
		return
	}
	record := s.fleet.record.Load()
	timed := func(op Operation, send func() (*http.Response, error), out any) bool {
		began := time.Now()
		if !s.persist(ctx, op, send, out) {
			return false
		}
		record.add(op, began)
		return true
	}
	escrow, keyID, label := uuid.NewString(), "0a0b", product
	serial := "T" + escrow[:18]
	var beat api.HeartbeatAnswer
	var certificate api.IssuedCertificate
	var state api.UnitState
	ok := timed(Heartbeat, func() (*http.Response, error) {
		return s.client.PostHeartbeat(ctx, api.HeartbeatRequest{SessionId: s.session, Units: []api.HeartbeatUnit{{UnitId: l.UnitId, Epoch: l.Epoch, Phase: "escrow-so-pin"}}})
	}, &beat) && timed(Escrow, func() (*http.Response, error) {
		return s.client.PutEscrow(ctx, escrow, api.EscrowRequest{UnitId: l.UnitId, Epoch: l.Epoch, SealedSoPin: s.fleet.supply.sealed, Recipients: []string{s.fleet.supply.recipient}})
	}, &api.Escrow{}) && timed(Token, func() (*http.Response, error) {
		return s.client.PutEscrowToken(ctx, escrow, api.EscrowTokenRequest{TokenSerial: serial})
	}, &api.Escrow{}) && timed(CSR, func() (*http.Response, error) {
		return s.certify(ctx, l, api.CsrRequest{Epoch: l.Epoch, Csr: request, EscrowId: escrow, KeyId: keyID, TokenModel: "simulated", TokenSerial: serial})
	}, &certificate) && timed(Result, func() (*http.Response, error) {
		return s.client.PutResult(ctx, l.UnitId, l.Generation, api.ResultRequest{
			Epoch: l.Epoch, Outcome: api.Installed, TokenSerial: serial, TokenLabel: &label, KeyId: &keyID, EscrowId: &escrow,
			CertificateSerial: &certificate.CertificateSerial, CertificateSha256: &certificate.CertificateSha256,
			SealedUserPin: &s.fleet.supply.sealed, UserPinRecipients: &[]string{s.fleet.supply.recipient},
		})
	}, &state)
	switch {
	case !ok:
		return
	case len(beat.Units) != 1 || beat.Units[0].Status != api.Ok:
		s.fleet.ledger.fail(fmt.Sprintf("the heartbeat of unit %s was answered %v", l.UnitId, beat.Units))
	case state.State != api.INSTALLED:
		s.fleet.ledger.fail(fmt.Sprintf("unit %s is %s after its result", l.UnitId, state.State))
	}
	s.fleet.ledger.live(Life{Unit: l.UnitId, Order: l.OrderId, Station: s.name, Generation: l.Generation,
		TokenSerial: serial, CertificateSerial: certificate.CertificateSerial, Fingerprint: certificate.CertificateSha256})
}

// certify sends the request, and polls for the certificate if it is not in the answer.
func (s *Station) certify(ctx context.Context, l api.Lease, request api.CsrRequest) (*http.Response, error) {
	resp, err := s.client.PutCsr(ctx, l.UnitId, l.Generation, request)
	for err == nil && resp.StatusCode == http.StatusAccepted {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		wait := pollSeconds
		resp, err = s.client.GetCertificate(ctx, l.UnitId, l.Generation, &api.GetCertificateParams{Wait: &wait})
	}
	return resp, err
}

// persist sends until there is a 200, as a real station does: whatever broke off or is
// to be tried again is the same request again. Anything else ends the unit for good.
func (s *Station) persist(ctx context.Context, op Operation, send func() (*http.Response, error), out any) bool {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, maxPause) {
		resp, err := send()
		status, err := s.take(resp, err, out)
		if status == http.StatusOK && err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		what := fmt.Sprintf("%s of %s: %d %v", op, s.name, status, err)
		s.refused(status, resp, what)
		if status >= 400 && status < 500 {
			s.fleet.ledger.fail(what)
			return false
		}
		_ = sleep(ctx, max(retryAfter(resp), spread(pause)))
	}
	return false
}

func (s *Station) refused(status int, resp *http.Response, what string) {
	s.fleet.record.Load().note(status, resp != nil && resp.Header.Get("Retry-After") != "", what)
}

// take reads an answer; the status is 0 when there is none.
func (s *Station) take(resp *http.Response, err error, out any) (int, error) {
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err := closed(resp, err); err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("%s", body[:min(len(body), 300)])
	}
	return resp.StatusCode, json.Unmarshal(body, out)
}

func closed(resp *http.Response, err error) error {
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	return err
}

func retryAfter(resp *http.Response) time.Duration {
	if resp == nil {
		return 0
	}
	n, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return time.Duration(n) * time.Second
}

func spread(d time.Duration) time.Duration { return d/2 + rand.N(d) }
