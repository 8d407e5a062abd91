// Package ca is the certificate authority of the customers' certificates, as the
// central server sees it (CA), and a development authority that keeps its keys in
// files (Development).
//
// It owns how a certificate is asked for and what may come of it. It must not know
// orders, units, stations or how the answer is kept.
package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"
)

// CA issues certificates, once per request id.
type CA interface {
	// Issue asks for a certificate. A *RefusedError means that none was made and none
	// will be; after any other error, including that of ctx, nobody knows.
	Issue(ctx context.Context, r Request) (Certificate, error)
	// Lookup finds what was issued under a request id. Not found, without an error, is
	// proof of absence. It is only called when CanLookup.
	Lookup(ctx context.Context, id string) (c Certificate, found bool, err error)
	// CanLookup says whether Lookup works. Without it an unknown outcome waits for a person.
	CanLookup() bool
	// Roots are the trust anchors of what it issues.
	Roots() []*x509.Certificate
}

// Recorder is a CA that can list everything it ever issued, from its own record.
type Recorder interface {
	// Issued lists in the order of issue, and says how many there are in all.
	Issued(ctx context.Context, limit, offset int) ([]Record, int, error)
}

// Request is what a certificate is asked for.
type Request struct {
	// ID is unique per certificate: the same id is never answered by two different ones.
	ID string
	// CSR is a PKCS#10 request, checked by who asks; its subject and e-mail addresses are taken.
	CSR     []byte
	Profile Profile
}

// Profile is what the product decides about a certificate.
type Profile struct {
	ValidityYears int
	KeyUsage      x509.KeyUsage
	ExtKeyUsage   []x509.ExtKeyUsage
}

// UserKey is the profile of the keys that are made here: signing with
// non-repudiation, for logging in and for mail.
func UserKey(years int) Profile {
	return Profile{
		ValidityYears: years,
		KeyUsage:      x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
		ExtKeyUsage:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageEmailProtection},
	}
}

// Certificate is an answer.
type Certificate struct {
	// PKCS7 is a certs-only SignedData in DER: the leaf and what leads to the root.
	PKCS7 []byte
	Leaf  *x509.Certificate
}

// Record is one issued certificate in the CA's own books.
type Record struct {
	RequestID       string
	Serial          string
	SHA256          string
	PublicKeySHA256 string
	Subject         string
	Issuer          string
	NotBefore       time.Time
	NotAfter        time.Time
}

// RefusedError says that the CA will never issue for this request.
type RefusedError struct{ Reason string }

// Error implements error.
func (e *RefusedError) Error() string { return fmt.Sprintf("the CA refused the request: %s", e.Reason) }
