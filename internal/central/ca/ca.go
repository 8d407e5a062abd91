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
	"time"
)

// CA issues certificates, once per request id. Development is one; est and drop
// hold others. catest.Conformance is what all of them pass.
type CA interface {
	// Issue asks for a certificate. Errors say what is known:
	//   - *RefusedError: none was made and none will be;
	//   - *PendingError: there is none yet, and the same request is wanted again later;
	//   - *TwiceError: there is more than one;
	//   - any other, including that of ctx: nobody knows.
	Issue(ctx context.Context, r Request) (Certificate, error)
	// Lookup finds what was issued under a request id. Not found, without an error, is
	// proof of absence. It has the errors of Issue: *PendingError says that the request
	// is known and not decided, so that Issue may repeat it.
	// Without CanLookup it returns ErrUnsupported.
	Lookup(ctx context.Context, id string) (c Certificate, found bool, err error)
	// CanLookup says whether Lookup works. Without it an unknown outcome waits for a person.
	CanLookup() bool
	// Revoke revokes a certificate for good; the same again changes nothing, not even
	// the reason. It is on disk when this returns. Errors: ErrUnknownCertificate when
	// this CA did not issue it, ErrBadReason. Without CanRevoke it returns ErrUnsupported.
	Revoke(ctx context.Context, r Revocation) error
	// CanRevoke says whether Revoke works. Without it a person revokes, at the CA
	// itself, and says so.
	CanRevoke() bool
	// Roots are the trust anchors of what it issues.
	Roots() []*x509.Certificate
}

// Placed is a CA whose knowledge of what was asked is in one place, at one server. At
// another place the same CA would prove the absence of what it was asked for here.
type Placed interface {
	// Place names it, and stays the same when it is moved.
	Place() string
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
	// Product is the code of what was ordered, for CAs that choose their own profile by it.
	Product string
	// Renewal says that the subject has a certificate already, which this one follows.
	Renewal bool
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
