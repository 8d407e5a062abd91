package csr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
)

// Request is what a certificate is asked for, apart from the key.
type Request struct {
	// Subject is written in this order.
	Subject []Attribute
	// Emails are the rfc822Names of the subject alternative name.
	Emails []string
}

// MaxRequest is the size limit of a PKCS#10 request in bytes.
const MaxRequest = 64 << 10

// Build makes a PKCS#10 request (RFC 2986), signed by signer with the algorithm
// that belongs to its key: SHA256-RSA, ECDSA-SHA256, or ECDSA-SHA384 for P-384.
// The result is parsed again and its signature checked by Go's own code, so a
// token that signs wrongly is found here. Errors: ErrUnsupportedKey,
// ErrBadOrder for a subject that cannot be written, ErrBadRequest when the
// outcome does not check, or the signer's own.
func Build(signer crypto.Signer, r Request) ([]byte, error) {
	pub := signer.Public()
	algorithm, err := signatureAlgorithm(pub)
	if err != nil {
		return nil, err
	}
	if len(r.Subject) == 0 {
		return nil, fmt.Errorf("%w: the subject is empty", ErrBadOrder)
	}
	subject, err := marshalSubject(r.Subject)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadOrder, err)
	}
	for _, e := range r.Emails {
		if err := checkEmail(e); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadOrder, err)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		RawSubject: subject, EmailAddresses: r.Emails, SignatureAlgorithm: algorithm,
	}, signer)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	parsed, err := ParseRequest(der)
	if err != nil {
		return nil, fmt.Errorf("check our own certificate request: %w", err)
	}
	if !samePublicKey(parsed.PublicKey, pub) {
		return nil, fmt.Errorf("check our own certificate request: %w: it holds another key", ErrBadRequest)
	}
	return der, nil
}

// ParsedRequest is a PKCS#10 request that was checked.
type ParsedRequest struct {
	// Raw is the request's DER.
	Raw []byte
	// PublicKey is an *rsa.PublicKey or *ecdsa.PublicKey.
	PublicKey crypto.PublicKey
	// SPKI is the DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) in its one
	// canonical form, so that two requests for one key have equal bytes.
	SPKI []byte
	// Subject is decoded, in the request's order; compare it as a set.
	Subject []Attribute
	// RawSubject is the subject's DER.
	RawSubject []byte
	// Emails are the rfc822Names that it asks for. Other extensions are not looked at.
	Emails []string
}

// ParseRequest reads a PKCS#10 request from outside: DER and nothing after it,
// canonical in every element, a key in use here, signed by that key with SHA-2.
// Errors: ErrBadRequest, ErrUnsupportedKey, ErrBadSignature.
func ParseRequest(der []byte) (*ParsedRequest, error) {
	if len(der) > MaxRequest {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBadRequest, len(der), MaxRequest)
	}
	if err := checkDER(der); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	var version int
	if err := firstInteger(req.RawTBSCertificateRequest, &version); err != nil || version != 0 {
		return nil, fmt.Errorf("%w: its version is not 0 (RFC 2986, 4.1)", ErrBadRequest)
	}
	if err := checkPublicKey(req.PublicKey); err != nil {
		return nil, err
	}
	// One key, one encoding: who compares SPKI bytes must not be fooled by a
	// compressed point or left-out parameters.
	canonical, err := x509.MarshalPKIXPublicKey(req.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupportedKey, err)
	}
	if !bytes.Equal(canonical, req.RawSubjectPublicKeyInfo) {
		return nil, fmt.Errorf("%w: its public key is not in canonical form", ErrBadRequest)
	}
	if !strongSignature(req.SignatureAlgorithm) {
		return nil, fmt.Errorf("%w: signed with %s", ErrBadRequest, req.SignatureAlgorithm)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %w: %w", ErrBadRequest, ErrBadSignature, err)
	}
	subject, err := Subject(req.Subject)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return &ParsedRequest{
		Raw: bytes.Clone(der), PublicKey: req.PublicKey, SPKI: canonical,
		Subject: subject, RawSubject: req.RawSubject, Emails: req.EmailAddresses,
	}, nil
}

// firstInteger reads the INTEGER that a SEQUENCE begins with.
func firstInteger(sequence []byte, into *int) error {
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(sequence, &outer); err != nil {
		return err
	}
	_, err := asn1.Unmarshal(outer.Bytes, into)
	return err
}

// signatureAlgorithm is the one with which a key signs requests here.
func signatureAlgorithm(pub crypto.PublicKey) (x509.SignatureAlgorithm, error) {
	if err := checkPublicKey(pub); err != nil {
		return 0, err
	}
	if ec, ok := pub.(*ecdsa.PublicKey); ok {
		if ec.Curve == elliptic.P384() {
			return x509.ECDSAWithSHA384, nil
		}
		return x509.ECDSAWithSHA256, nil
	}
	return x509.SHA256WithRSA, nil
}

// checkPublicKey takes RSA of 2048 to 8192 bits with an odd exponent above 2^16
// (FIPS 186-5, A.1.1), P-256 and P-384.
func checkPublicKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if k.N == nil || k.N.BitLen() < 2048 || k.N.BitLen() > 8192 || k.N.Bit(0) == 0 {
			return fmt.Errorf("%w: RSA modulus even, or outside 2048 to 8192 bits", ErrUnsupportedKey)
		}
		if k.E <= 1<<16 || k.E%2 == 0 {
			return fmt.Errorf("%w: RSA exponent %d is not odd and above 2^16", ErrUnsupportedKey, k.E)
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return fmt.Errorf("%w: curve is neither P-256 nor P-384", ErrUnsupportedKey)
		}
		return nil
	}
	return fmt.Errorf("%w: %T", ErrUnsupportedKey, pub)
}

// strongSignature lists what is taken on requests and certificates: SHA-2 only.
func strongSignature(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		return true
	}
	return false
}

// samePublicKey compares keys, not their encodings.
func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
