//go:build !race

package simulation

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// authority is a CA that is slow, and whose answers are lost. It implements ca.CA.
type authority struct {
	w       *world
	root    *x509.Certificate
	key     crypto.Signer
	issued  map[string]ca.Certificate
	csrs    map[string][]byte
	revoked map[string]bool // by serial number
	unknown map[string]bool // asked, and the answer was lost since anybody looked it up
	telling map[string]bool // is being told
}

func newAuthority(w *world) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sample CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return &authority{
		w: w, key: key, root: w.sign(template, template, key.Public(), key),
		issued: map[string]ca.Certificate{}, csrs: map[string][]byte{}, unknown: map[string]bool{}, telling: map[string]bool{}, revoked: map[string]bool{},
	}
}

// sign makes a certificate.
func (w *world) sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	w.must(err)
	c, err := x509.ParseCertificate(der)
	w.must(err)
	return c
}

func (a *authority) CanLookup() bool            { return true }
func (a *authority) CanRevoke() bool            { return true }
func (a *authority) Roots() []*x509.Certificate { return []*x509.Certificate{a.root} }

// errNoAnswer is what whoever asked the CA sees of a lost answer.
var errNoAnswer = errors.New("the CA did not answer")

func (a *authority) Lookup(ctx context.Context, id string) (ca.Certificate, bool, error) {
	if a.telling[id] {
		a.w.violate("the CA is asked about %s while another server tells it to issue that", id)
	}
	v, ok := a.w.gate.enter(ctx, &action{kind: caCall, actor: "ca", what: "lookup " + id}, nil)
	if !ok || v != pass {
		return ca.Certificate{}, false, errNoAnswer
	}
	delete(a.unknown, id)
	c, found := a.issued[id]
	return c, found, nil
}

func (a *authority) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	if a.unknown[r.ID] {
		a.w.violate("the CA is told again to issue %s though nobody has asked what became of it", r.ID)
	}
	if a.telling[r.ID] {
		a.w.violate("two servers tell the CA to issue %s at the same time", r.ID)
	}
	a.unknown[r.ID], a.telling[r.ID] = true, true
	v, ok := a.w.gate.enter(ctx, &action{kind: caCall, actor: "ca", what: "issue " + r.ID}, nil)
	delete(a.telling, r.ID)
	switch {
	case !ok || v == lose:
		return ca.Certificate{}, errNoAnswer
	case v == notYet && a.issued[r.ID].Leaf == nil:
		delete(a.unknown, r.ID) // the CA knows of it, and says so
		return ca.Certificate{}, &ca.PendingError{After: time.Minute}
	}
	c, known := a.issued[r.ID]
	if known && !bytes.Equal(a.csrs[r.ID], r.CSR) {
		a.w.violate("the CA is asked for two keys under %s", r.ID)
	}
	if !known {
		c = a.make(r)
		a.issued[r.ID], a.csrs[r.ID] = c, r.CSR
	}
	if v == loseAfter {
		return ca.Certificate{}, errNoAnswer
	}
	delete(a.unknown, r.ID)
	return c, nil
}

// Revoke implements ca.CA.
func (a *authority) Revoke(ctx context.Context, r ca.Revocation) error {
	v, ok := a.w.gate.enter(ctx, &action{kind: caCall, actor: "ca", what: "revoke " + r.Serial.String()}, nil)
	if !ok || v == lose {
		return errNoAnswer
	}
	a.revoked[r.Serial.String()] = true
	if v == loseAfter {
		return errNoAnswer
	}
	return nil
}

func (a *authority) make(r ca.Request) ca.Certificate {
	request, err := x509.ParseCertificateRequest(r.CSR)
	a.w.must(err)
	from := time.Now().Add(-time.Minute)
	leaf := a.w.sign(&x509.Certificate{
		SerialNumber: big.NewInt(int64(1000 + len(a.issued))), RawSubject: request.RawSubject,
		NotBefore: from, NotAfter: from.AddDate(r.Profile.ValidityYears, 0, 0),
		KeyUsage: r.Profile.KeyUsage, ExtKeyUsage: r.Profile.ExtKeyUsage, BasicConstraintsValid: true,
	}, a.root, request.PublicKey, a.key)
	a.w.model.issued(r.ID, leaf)
	bundle, err := csr.EncodeBundle([]*x509.Certificate{leaf})
	a.w.must(err)
	return ca.Certificate{PKCS7: bundle, Leaf: leaf}
}
