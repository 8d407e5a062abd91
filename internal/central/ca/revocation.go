package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/big"
)

// Revocation names a certificate as a CRL does, and why it is revoked.
type Revocation struct {
	// Issuer is the DER of the issuer's name.
	Issuer []byte
	Serial *big.Int
	Reason Reason
}

// RevocationOf revokes a certificate at hand.
func RevocationOf(cert *x509.Certificate, reason Reason) Revocation {
	return Revocation{Issuer: cert.RawIssuer, Serial: cert.SerialNumber, Reason: reason}
}

// Reason is a CRLReason (RFC 5280, 5.3.1).
type Reason int

// Reasons for which a user's certificate is revoked. certificateHold and
// removeFromCRL are left out, for a revocation here is never taken back; so are
// those that only a CA's own certificate has.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	PrivilegeWithdrawn   Reason = 9
)

// Reasons are all of them, by their names in RFC 5280.
func Reasons() map[string]Reason {
	return map[string]Reason{
		"unspecified": Unspecified, "keyCompromise": KeyCompromise, "affiliationChanged": AffiliationChanged,
		"superseded": Superseded, "cessationOfOperation": CessationOfOperation, "privilegeWithdrawn": PrivilegeWithdrawn,
	}
}

// String is the name in RFC 5280.
func (r Reason) String() string {
	for name, known := range Reasons() {
		if known == r {
			return name
		}
	}
	return fmt.Sprintf("reason %d", int(r))
}

// ParseReason reads a name of RFC 5280; the error is ErrBadReason.
func ParseReason(name string) (Reason, error) {
	r, ok := Reasons()[name]
	if !ok {
		return 0, fmt.Errorf("%w: %q", ErrBadReason, name)
	}
	return r, nil
}

// Check says ErrBadReason for a number that is none of the reasons.
func (r Reason) Check() error {
	for _, known := range Reasons() {
		if known == r {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrBadReason, r)
}

// CRL is a certificate revocation list as one of the CA's issuers signed it.
type CRL struct {
	// Name is that of the issuer's keys: "ecdsa", "rsa".
	Name string
	DER  []byte
}

// CRLMaker is a CA that makes its own certificate revocation lists.
type CRLMaker interface {
	// CRLs are the present ones, made anew when they have become old. They hold
	// every revocation that was answered before.
	CRLs(ctx context.Context) ([]CRL, error)
}
