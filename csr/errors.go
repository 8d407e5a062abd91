package csr

import (
	"fmt"
	"strings"
)

// Sentinel is a constant error, compared with errors.Is.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// What callers decide by.
const (
	// ErrBadProfile: a profile cannot be used as it is configured.
	ErrBadProfile Sentinel = "unusable certificate profile"
	// ErrBadOrder: an order's data does not fit its product's profile (too long a name, say).
	ErrBadOrder Sentinel = "order does not fit the certificate profile"
	// ErrBadRequest: a PKCS#10 request that must not be signed.
	ErrBadRequest Sentinel = "unacceptable certificate request"
	// ErrUnsupportedKey: a kind or size of public key that is not used here.
	ErrUnsupportedKey Sentinel = "unsupported public key"
	// ErrBadBundle: not a certs-only PKCS#7.
	ErrBadBundle Sentinel = "not a certs-only PKCS#7"
	// ErrBadSignature: a signature does not verify.
	ErrBadSignature Sentinel = "signature does not verify"
)

// Why a certificate is not the one ordered; see MismatchError.
const (
	// ErrWrongKey: no certificate is for our key.
	ErrWrongKey Sentinel = "no certificate for this key"
	// ErrAmbiguousLeaf: two different certificates for our key.
	ErrAmbiguousLeaf Sentinel = "more than one certificate for this key"
	// ErrWrongSubject: the subject differs from the order.
	ErrWrongSubject Sentinel = "wrong subject"
	// ErrWrongNames: the subject alternative names differ from the order.
	ErrWrongNames Sentinel = "wrong subject alternative names"
	// ErrExpired: notAfter has passed.
	ErrExpired Sentinel = "certificate expired"
	// ErrWrongValidity: it begins too early or too late, or lasts too long or too short.
	ErrWrongValidity Sentinel = "wrong validity"
	// ErrUntrusted: no chain to a configured trust anchor.
	ErrUntrusted Sentinel = "no chain to a trust anchor"
	// ErrWrongUsage: key usage, extended key usage or basic constraints differ from the profile.
	ErrWrongUsage Sentinel = "wrong usage"
	// ErrWrongSerial: the certificate serial number breaks RFC 5280, 4.1.2.2.
	ErrWrongSerial Sentinel = "wrong certificate serial number"
	// ErrWeakSignature: signed with SHA-1, MD5 or an unknown algorithm.
	ErrWeakSignature Sentinel = "weak signature algorithm"
	// ErrCriticalExtension: a critical extension that is not understood here.
	ErrCriticalExtension Sentinel = "unknown critical extension"
)

// Problem is one way in which a certificate differs from what was ordered.
type Problem struct {
	// Reason is one of the sentinels.
	Reason Sentinel
	// Field is what differs, such as "subject.CN" or "validity.notAfter".
	Field string
	// Want and Got are for people.
	Want, Got string
	// Note explains, where the difference is hard to see.
	Note string
}

// Error implements error.
func (p Problem) Error() string {
	s := fmt.Sprintf("%s: %s: want %s, got %s", p.Field, p.Reason, p.Want, p.Got)
	if p.Note != "" {
		s += " (" + p.Note + ")"
	}
	return s
}

// Unwrap gives the sentinel.
func (p Problem) Unwrap() error { return p.Reason }

// MismatchError tells everything that is wrong with a certificate. It holds
// names and e-mail addresses of the order, so it belongs on the operator's
// screen rather than in a record that is kept.
type MismatchError struct {
	Problems []Problem
}

// Error implements error.
func (e *MismatchError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Error()
	}
	return "certificate refused: " + strings.Join(parts, "; ")
}

// Unwrap gives every Problem, so that errors.Is finds each reason.
func (e *MismatchError) Unwrap() []error {
	out := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		out[i] = p
	}
	return out
}

// Has reports whether one of the problems has that reason.
func (e *MismatchError) Has(reason Sentinel) bool {
	for _, p := range e.Problems {
		if p.Reason == reason {
			return true
		}
	}
	return false
}

// FieldError is what is wrong at one field of a Profile.
type FieldError struct {
	// Field is the path within the profile, such as "subject[2].value".
	Field string
	Err   error
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap gives ErrBadProfile and the cause.
func (e *FieldError) Unwrap() []error { return []error{ErrBadProfile, e.Err} }
