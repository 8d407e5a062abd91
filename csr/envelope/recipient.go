package envelope

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"
)

// Sentinel is a constant error, compared with errors.Is.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// What callers decide by.
const (
	// ErrBadRecipient: data that is not exactly one usable certificate.
	ErrBadRecipient Sentinel = "unusable recipient certificate"
	// ErrRecipientKey: its key cannot or must not receive (EC, too short, small exponent).
	ErrRecipientKey Sentinel = "recipient's key cannot receive"
	// ErrRecipientUsage: its key usage does not allow keyEncipherment.
	ErrRecipientUsage Sentinel = "recipient's certificate does not allow key encipherment"
	// ErrRecipientDates: it is not valid at that time.
	ErrRecipientDates Sentinel = "recipient's certificate is not valid now"
	// ErrRecipients: too few, too many or the same one twice.
	ErrRecipients Sentinel = "unusable set of recipients"
	// ErrNotSealed: nothing was sealed, or what was made is not what it should be.
	ErrNotSealed Sentinel = "could not seal"
)

// MaxRecipients is the largest set that one envelope is sealed to.
const MaxRecipients = 8

// maxCertificate bounds what is parsed, in bytes.
const maxCertificate = 64 << 10

// Recipient is a certificate that an envelope may be sealed to. The zero
// Recipient is none; ParseRecipient makes them.
type Recipient struct {
	cert *x509.Certificate
}

// ParseRecipient takes one certificate, DER or a single PEM block, and tells
// whether it can receive envelopes at the time now: an RSA key of 2048 to 8192 bits
// with an odd exponent above 2^16, keyEncipherment allowed when a key usage is
// given (RFC 5280, 4.2.1.3), within its dates. It says nothing of trust: compare
// SHA256 with a configured list. Errors: ErrBadRecipient, ErrRecipientKey,
// ErrRecipientUsage, ErrRecipientDates.
func ParseRecipient(data []byte, now time.Time) (Recipient, error) {
	if len(data) > maxCertificate {
		return Recipient{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBadRecipient, len(data), maxCertificate)
	}
	der := data
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")) {
		block, rest := pem.Decode(data)
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return Recipient{}, fmt.Errorf("%w: not a single PEM block of type CERTIFICATE", ErrBadRecipient)
		}
		der = block.Bytes
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Recipient{}, fmt.Errorf("%w: %w", ErrBadRecipient, err)
	}
	r := Recipient{cert}
	if err := r.checkKey(); err != nil {
		return Recipient{}, err
	}
	if err := r.UsableAt(now); err != nil {
		return Recipient{}, err
	}
	return r, nil
}

func (r Recipient) checkKey() error {
	switch key := r.cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 2048 || n > 8192 {
			return fmt.Errorf("%w: %s has RSA of %d bits, 2048 to 8192 are allowed", ErrRecipientKey, r, n)
		}
		if key.N.Bit(0) == 0 {
			return fmt.Errorf("%w: %s has an even RSA modulus", ErrRecipientKey, r)
		}
		if key.E <= 1<<16 || key.E%2 == 0 {
			// FIPS 186-5, A.1.1. A small exponent makes PKCS #1 v1.5 encryption fragile.
			return fmt.Errorf("%w: %s has the RSA exponent %d, which is not odd and above 2^16", ErrRecipientKey, r, key.E)
		}
	case *ecdsa.PublicKey:
		return fmt.Errorf("%w: %s has an elliptic curve key; envelopes are sealed to RSA keys only, so issue the recipient an RSA certificate", ErrRecipientKey, r)
	default:
		return fmt.Errorf("%w: %s has a key of another kind than RSA (%s)", ErrRecipientKey, r, r.cert.PublicKeyAlgorithm)
	}
	if u := r.cert.KeyUsage; u != 0 && u&x509.KeyUsageKeyEncipherment == 0 {
		return fmt.Errorf("%w: %s", ErrRecipientUsage, r)
	}
	return nil
}

// UsableAt tells whether the certificate's dates allow sealing to it at t. A
// station that runs for months asks again before each envelope. ErrRecipientDates.
func (r Recipient) UsableAt(t time.Time) error {
	switch {
	case r.cert == nil:
		return fmt.Errorf("%w: there is none", ErrBadRecipient)
	case t.Before(r.cert.NotBefore):
		return fmt.Errorf("%w: %s begins on %s", ErrRecipientDates, r, r.cert.NotBefore.UTC().Format(time.RFC3339))
	case t.After(r.cert.NotAfter):
		return fmt.Errorf("%w: %s ended on %s", ErrRecipientDates, r, r.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// SHA256 is the fingerprint of the certificate's DER in lower-case hexadecimal,
// as configuration and the dispatch contract write it; "" for the zero Recipient.
func (r Recipient) SHA256() string {
	if r.cert == nil {
		return ""
	}
	sum := sha256.Sum256(r.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// DER is the certificate.
func (r Recipient) DER() []byte {
	if r.cert == nil {
		return nil
	}
	return bytes.Clone(r.cert.Raw)
}

// NotAfter is when the certificate ends.
func (r Recipient) NotAfter() time.Time {
	if r.cert == nil {
		return time.Time{}
	}
	return r.cert.NotAfter
}

// String names the recipient for people.
func (r Recipient) String() string {
	if r.cert == nil {
		return "no recipient"
	}
	return fmt.Sprintf("%q (SHA-256 %s…)", r.cert.Subject.String(), r.SHA256()[:16])
}

// Distinct tells whether there are at least atLeast recipients, at most
// MaxRecipients, each with a key of its own: two certificates for one key are one
// reader, not two. ErrRecipients.
func Distinct(recipients []Recipient, atLeast int) error {
	if len(recipients) < max(atLeast, 1) || len(recipients) > MaxRecipients {
		return fmt.Errorf("%w: %d given, %d to %d are needed", ErrRecipients, len(recipients), max(atLeast, 1), MaxRecipients)
	}
	for i, r := range recipients {
		if r.cert == nil {
			return fmt.Errorf("%w: recipient %d is empty", ErrRecipients, i+1)
		}
		for _, other := range recipients[:i] {
			key := r.cert.PublicKey.(*rsa.PublicKey) // checkKey let nothing else in
			if key.Equal(other.cert.PublicKey) {
				return fmt.Errorf("%w: %s and %s have the same key", ErrRecipients, other, r)
			}
			if bytes.Equal(r.cert.RawIssuer, other.cert.RawIssuer) && r.cert.SerialNumber.Cmp(other.cert.SerialNumber) == 0 {
				// RFC 5652, 6.2.1 names a recipient by these two.
				return fmt.Errorf("%w: %s and %s have the same issuer and serial number, so nobody could tell whose is whose", ErrRecipients, other, r)
			}
		}
	}
	return nil
}
