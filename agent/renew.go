package agent

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/identity/proof"
)

// Renewal is how a station renews its certificate.
type Renewal struct {
	// Certify has the TPM say, over a nonce, that the key is in it; nil for a key in a file.
	Certify func(nonce []byte) (proof.Certified, error)
	// Keep makes the new certificate durable, before it is used.
	Keep func(*x509.Certificate) error
}

const (
	// renewGap is between two looks at the clock, which may have been set, and between two
	// renewals that went well, however odd that clock is.
	renewGap = time.Hour
	// doubtGap is between two renewals because the server did not take the certificate.
	doubtGap = 10 * time.Second
)

// renewInBackground begins renewals, and returns what ends them. One that is under way comes to
// its end, unless ctx has ended: a drain with little to do would cut off each of them.
func (a *Agent) renewInBackground(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var loop sync.WaitGroup
	loop.Go(func() { a.renewals(ctx) })
	return func() {
		a.renewing.Lock()
		cancel()
		a.renewing.Unlock()
		loop.Wait()
	}
}

// renewals renews the certificate at half its life, and whenever the server does not
// take it any more, until ctx ends. The server's word counts more than this
// station's clock.
func (a *Agent) renewals(ctx context.Context) {
	if a.Renewal == nil {
		return
	}
	var last time.Time
	for failures := 0; ; {
		wait := max(a.Central.untilHalfLife(), renewGap-time.Since(last))
		if failures > 0 {
			wait = a.backoff(failures - 1)
		}
		a.sleep(ctx, min(wait, renewGap), a.Central.doubt)
		if ctx.Err() != nil {
			return
		}
		doubted := a.Central.doubted.Swap(false) && time.Since(last) > doubtGap
		aged := a.Central.untilHalfLife() <= 0 && time.Since(last) >= renewGap
		if failures == 0 && !doubted && !aged {
			continue
		}
		if err := a.renew(ctx); err != nil {
			failures++
			a.Central.trusted() // it was asked just now: the next time is for the backoff to say
			a.forget("the station's certificate is not renewed yet", err)
			continue
		}
		failures, last = 0, time.Now()
	}
}

// renew gets another certificate over the same key, keeps it and uses it.
func (a *Agent) renew(ctx context.Context) error {
	a.renewing.Lock()
	defer a.renewing.Unlock()
	cert, err := a.Central.renew(ctx, a.Renewal.Certify)
	if err != nil {
		return err
	}
	if err := a.Renewal.Keep(cert); err != nil {
		return fmt.Errorf("keep the station's new certificate: %w", err)
	}
	a.Central.use(cert)
	a.log.Info("the station's certificate is renewed", "until", cert.NotAfter)
	return nil
}

// tier says where this station's key is; nil where it does not say.
func (a *Agent) tier() *api.IdentityTier {
	if a.Renewal == nil {
		return nil
	}
	t := api.File
	if a.Renewal.Certify != nil {
		t = api.Tpm
	}
	return &t
}

// untilHalfLife is how long the present certificate is not to be renewed yet; it may
// be negative.
func (c *Central) untilHalfLife() time.Duration {
	leaf := c.leaf.Load()
	if leaf == nil {
		return renewGap
	}
	return time.Until(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2))
}

// use shows another certificate over the same key from now on.
func (c *Central) use(cert *x509.Certificate) {
	c.leaf.Store(cert)
	next := *c.mutual.credential.Load()
	next.Certificate, next.Leaf = [][]byte{cert.Raw}, cert
	c.mutual.use(next)
}

// renew asks for a certificate. certify proves the key where the server wants that.
func (c *Central) renew(ctx context.Context, certify func([]byte) (proof.Certified, error)) (*x509.Certificate, error) {
	var request api.RenewalRequest
	for range 2 {
		var answer api.RenewedCertificate
		var challenge api.RenewalChallenge
		status, err := c.askRenewal(ctx, request, &answer, &challenge)
		if err != nil {
			return nil, wrap("renewal of the station's certificate", err)
		}
		if status == http.StatusOK {
			return c.judge(answer.Certificate)
		}
		if certify == nil {
			return nil, errors.New("the central server wants a proof of the TPM, and this station's key is in a file")
		}
		proved, err := certify(challenge.Nonce)
		if err != nil {
			return nil, err
		}
		request.Certified = &api.Certified{Attestation: proved.Attestation, Signature: proved.Signature}
	}
	return nil, errors.New("the central server wants one proof after the other")
}

func (c *Central) askRenewal(ctx context.Context, r api.RenewalRequest, answer *api.RenewedCertificate, challenge *api.RenewalChallenge) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	resp, err := c.api.PostRenewal(ctx, r)
	return c.call(resp, err, func(status int, body []byte) error {
		if status == http.StatusAccepted {
			return unmarshal(body, challenge)
		}
		return unmarshal(body, answer)
	}, http.StatusOK, http.StatusAccepted)
}

// distrusted notes that the server does not take the certificate, trusted forgets it.
func (c *Central) distrusted() {
	c.doubted.Store(true)
	signal(c.doubt)
}

func (c *Central) trusted() {
	c.doubted.Store(false)
	select {
	case <-c.doubt:
	default:
	}
}

// judge takes a certificate that is over this station's key and in its name.
func (c *Central) judge(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the station's new certificate: %w", err)
	}
	return cert, checkOwn(cert, c.key, c.station)
}

// checkOwn says whether a certificate is over this key and in this name.
func checkOwn(cert *x509.Certificate, key crypto.PrivateKey, station string) error {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("the station's key cannot sign")
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(cert.PublicKey):
		return errors.New("the central server's certificate is over another key than this station's")
	case cert.Subject.CommonName != station:
		return fmt.Errorf("the central server's certificate is for station %q, this one is %q", cert.Subject.CommonName, station)
	}
	return nil
}
