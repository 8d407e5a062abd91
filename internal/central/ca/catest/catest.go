// Package catest is what every CA behind ca.CA must pass, for tests of the adapters.
// It must not know any adapter.
package catest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// Fixture is a CA with its other side.
type Fixture struct {
	ca.CA
	// Settle lets the other side answer everything that it was asked, and is called
	// when the CA says that a request is pending; nil where none ever is.
	Settle func(t *testing.T)
	// Reopen is the same CA as after a restart.
	Reopen func(t *testing.T) ca.CA
}

// Conformance runs the suite; each test gets a fixture of its own.
func Conformance(t *testing.T, open func(t *testing.T) *Fixture) {
	tests := []struct {
		name string
		run  func(*testing.T, *Fixture)
	}{
		{"a certificate is for the key and stands under the roots", testIssue},
		{"many at the same time", testMany},
		{"a bad request is refused", testBadRequest},
		{"a call that is cut off promises nothing", testCancelled},
		{"what was issued is found, before and after a restart", testLookup},
		{"one id is one certificate", testOnce},
		{"revocation is for good", testRevoke},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Request makes a request with a key of its own, RSA where asked for.
func Request(t *testing.T, id string, withRSA bool) ca.Request {
	t.Helper()
	subject := []csr.Attribute{{Type: "2.5.4.6", Value: "CN"}, {Type: "2.5.4.10", Value: "示例客车配件有限公司"}, {Type: "2.5.4.3", Value: id}}
	r := ca.Request{ID: id, Profile: ca.UserKey(1), Product: "CERT272353"}
	var err error
	if withRSA {
		key, keyErr := rsa.GenerateKey(rand.Reader, 2048)
		if keyErr != nil {
			t.Fatal(keyErr)
		}
		r.CSR, err = csr.Build(key, csr.Request{Subject: subject})
	} else {
		key, keyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if keyErr != nil {
			t.Fatal(keyErr)
		}
		r.CSR, err = csr.Build(key, csr.Request{Subject: subject})
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// issue asks until the CA has decided.
func (f *Fixture) issue(t *testing.T, r ca.Request) (ca.Certificate, error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := f.Issue(t.Context(), r)
		var pending *ca.PendingError
		if !errors.As(err, &pending) || f.Settle == nil || time.Now().After(deadline) {
			return c, err
		}
		f.Settle(t)
	}
}

func (f *Fixture) must(t *testing.T, r ca.Request) ca.Certificate {
	t.Helper()
	c, err := f.issue(t, r)
	if err != nil {
		t.Fatalf("issue %s: %v", r.ID, err)
	}
	return c
}

func testIssue(t *testing.T, f *Fixture) {
	for _, withRSA := range []bool{false, true} {
		r := Request(t, "CONFORM-001-g1", withRSA)
		if withRSA {
			r.ID = "CONFORM-002-g1"
		}
		wantFits(t, f.CA, r, f.must(t, r))
	}
}

// wantFits checks what the station will: the key, and the way to a root.
func wantFits(t *testing.T, authority ca.CA, r ca.Request, c ca.Certificate) {
	t.Helper()
	request, err := csr.ParseRequest(r.CSR)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := csr.ParseBundle(c.PKCS7)
	if err != nil || len(certs) == 0 {
		t.Fatalf("the bundle: %d certificates, %v", len(certs), err)
	}
	if c.Leaf == nil || !c.Leaf.Equal(certs[0]) {
		t.Error("the leaf is not the bundle's first certificate")
	}
	if key, ok := certs[0].PublicKey.(interface{ Equal(k any) bool }); ok && !key.Equal(request.PublicKey) {
		t.Error("the certificate is for another key")
	}
	if string(certs[0].RawSubjectPublicKeyInfo) != string(request.SPKI) || string(certs[0].RawSubject) != string(request.RawSubject) {
		t.Errorf("the certificate is for another key or subject: %s", certs[0].Subject)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range authority.Roots() {
		roots.AddCert(root)
	}
	for _, cert := range certs[1:] {
		if cert.CheckSignatureFrom(cert) == nil {
			t.Errorf("the bundle brings a root: %s", cert.Subject)
		}
		between.AddCert(cert)
	}
	if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Errorf("the certificate does not stand under the roots: %v", err)
	}
}

func testMany(t *testing.T, f *Fixture) {
	const n = 8
	requests := make([]ca.Request, n)
	for i := range requests {
		requests[i] = Request(t, "MANY-00"+string(rune('1'+i))+"-g1", false)
	}
	serials := make(map[string]bool)
	var mu sync.Mutex
	var work sync.WaitGroup
	for _, r := range requests {
		work.Go(func() {
			c, err := f.issue(t, r)
			if err != nil {
				t.Errorf("%s: %v", r.ID, err)
				return
			}
			wantFits(t, f.CA, r, c)
			mu.Lock()
			defer mu.Unlock()
			serials[ca.SerialText(c.Leaf.SerialNumber)] = true
		})
	}
	work.Wait()
	if len(serials) != n {
		t.Errorf("%d certificates for %d requests", len(serials), n)
	}
}

func testBadRequest(t *testing.T, f *Fixture) {
	good := Request(t, "BAD-001-g1", false)
	broken := append([]byte(nil), good.CSR...)
	broken[len(broken)-1] ^= 1 // the signature
	for name, der := range map[string][]byte{"nothing": nil, "garbage": []byte("garbage"), "a broken signature": broken} {
		r := good
		r.CSR = der
		var refused *ca.RefusedError
		if _, err := f.Issue(t.Context(), r); !errors.As(err, &refused) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	f.must(t, good) // and harms nobody
}

func testCancelled(t *testing.T, f *Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := Request(t, "CUT-001-g1", false)
	_, err := f.Issue(ctx, r)
	var refused *ca.RefusedError
	if err == nil || errors.As(err, &refused) {
		t.Errorf("got %v; a call that was cut off is no certificate and no refusal", err)
	}
}

func testLookup(t *testing.T, f *Fixture) {
	r := Request(t, "LOOK-001-g1", false)
	if !f.CanLookup() {
		if _, _, err := f.Lookup(t.Context(), r.ID); !errors.Is(err, ca.ErrUnsupported) {
			t.Errorf("look up, which it cannot: %v", err)
		}
		return
	}
	if _, found, err := f.Lookup(t.Context(), r.ID); found || err != nil {
		t.Errorf("before it was asked: found %t, %v", found, err)
	}
	c := f.must(t, r)
	for _, when := range []string{"before", "after"} {
		got, found, err := f.Lookup(t.Context(), r.ID)
		if err != nil || !found || !got.Leaf.Equal(c.Leaf) || string(got.PKCS7) != string(c.PKCS7) {
			t.Errorf("%s a restart: found %t, %v", when, found, err)
		}
		if when == "before" {
			f.CA = f.Reopen(t)
		}
	}
}

// testOnce is asked of who can look up: only those are told twice by the server.
func testOnce(t *testing.T, f *Fixture) {
	if !f.CanLookup() {
		return
	}
	r := Request(t, "ONCE-001-g1", false)
	first := f.must(t, r)
	f.CA = f.Reopen(t)
	if again := f.must(t, r); !again.Leaf.Equal(first.Leaf) {
		t.Error("the same request again made another certificate")
	}
	other := Request(t, r.ID, false)
	var refused *ca.RefusedError
	if _, err := f.issue(t, other); !errors.As(err, &refused) {
		t.Errorf("another request under the same id: %v, want a refusal", err)
	}
}

func testRevoke(t *testing.T, f *Fixture) {
	c := f.must(t, Request(t, "REVOKE-001-g1", false))
	r := ca.RevocationOf(c.Leaf, ca.Superseded)
	if !f.CanRevoke() {
		if err := f.Revoke(t.Context(), r); !errors.Is(err, ca.ErrUnsupported) {
			t.Errorf("revoke, which it cannot: %v", err)
		}
		return
	}
	bad, unknown, elsewhere := r, r, r
	bad.Reason, unknown.Serial, elsewhere.Issuer = 6, new(big.Int).Add(r.Serial, big.NewInt(1)), c.Leaf.RawSubject
	for _, row := range []struct {
		name string
		r    ca.Revocation
		want error
	}{
		{"for a while only", bad, ca.ErrBadReason},
		{"what was never issued", unknown, ca.ErrUnknownCertificate},
		{"another CA's", elsewhere, ca.ErrUnknownCertificate},
		{"as it should", r, nil},
		{"again", r, nil},
		{"again, another reason", ca.RevocationOf(c.Leaf, ca.KeyCompromise), nil},
	} {
		if err := f.Revoke(t.Context(), row.r); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
}
