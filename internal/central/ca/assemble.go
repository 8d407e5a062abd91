package ca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/csr"
)

// ErrNoLeaf says that a CA's answer has no certificate for the key that was asked for.
var ErrNoLeaf = errors.New("no certificate for the key of the request")

// maxChain bounds the way from a leaf to its root.
const maxChain = 8

// Assemble makes an answer from certificates in any order: the one for pub, and
// what leads from it towards the roots, found among all of them and others. The
// root itself is left out, and so is what has nothing to do with the leaf.
//
// Whether it is the certificate that was ordered is not looked at: the station
// does that, and a certificate that is wrong must still be known, to be revoked.
// Errors: ErrNoLeaf; *TwiceError when there are two for the key.
func Assemble(pub crypto.PublicKey, certs, others, roots []*x509.Certificate) (Certificate, error) {
	var leaf *x509.Certificate
	var twice TwiceError
	for _, c := range certs {
		if key, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !key.Equal(pub) || leaf != nil && leaf.Equal(c) {
			continue
		}
		leaf = c
		twice.Serials = append(twice.Serials, SerialText(c.SerialNumber))
	}
	switch len(twice.Serials) {
	case 0:
		return Certificate{}, fmt.Errorf("%w among %d certificates", ErrNoLeaf, len(certs))
	case 1:
	default:
		return Certificate{}, &twice
	}
	chain := []*x509.Certificate{leaf}
	for at := leaf; len(chain) < maxChain; chain = append(chain, at) {
		if issuerOf(at, roots) != nil {
			break
		}
		if at = issuerOf(at, append(certs[:len(certs):len(certs)], others...)); at == nil || at.CheckSignatureFrom(at) == nil {
			break
		}
	}
	p7, err := csr.EncodeBundle(chain)
	if err != nil {
		return Certificate{}, fmt.Errorf("encode certificates: %w", err)
	}
	return Certificate{PKCS7: p7, Leaf: leaf}, nil
}

func issuerOf(cert *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, c := range among {
		if bytes.Equal(cert.RawIssuer, c.RawSubject) && cert.CheckSignatureFrom(c) == nil {
			return c
		}
	}
	return nil
}
