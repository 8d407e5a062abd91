package keycheck

import (
	"fmt"
	"strings"
)

// Sentinel is a constant error of this package, to be compared with errors.Is.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// Why a key is refused.
const (
	// ErrOrder: what was ordered is no key that this package would let through.
	ErrOrder Sentinel = "the ordered kind of key cannot be checked"
	// ErrMalformed: the bytes are not the one DER encoding of a SubjectPublicKeyInfo.
	ErrMalformed Sentinel = "the public key is not encoded as it must be"
	// ErrKeyType: neither RSA nor EC, or not the one of them that was ordered.
	ErrKeyType Sentinel = "the key is not of the ordered type"

	ErrModulusSize Sentinel = "the modulus has not the ordered size"
	ErrExponent    Sentinel = "the public exponent is unfit"
	ErrSmallFactor Sentinel = "the modulus has a small factor"
	ErrROCA        Sentinel = "the modulus has the ROCA fingerprint (CVE-2017-15361)"
	// ErrModulus: prime, or a power.
	ErrModulus     Sentinel = "the modulus is not a product of two primes"
	ErrClosePrimes Sentinel = "the primes are too close to each other"

	ErrCurve Sentinel = "the key is not on the ordered curve"
	ErrPoint Sentinel = "the public key is not a usable point"
	// ErrGuessable: the private key is one of those that an attacker tries first.
	ErrGuessable Sentinel = "the private key can be guessed"

	// ErrSharedFactor: both private keys are open to anyone who has both public keys.
	ErrSharedFactor Sentinel = "the modulus shares a prime with another key"
	// ErrDuplicate: the same key, or the same modulus, was seen before.
	ErrDuplicate Sentinel = "the same key was seen before"
)

// ConflictError says which keys a key has something in common with. They are as
// broken as the key that was checked: whoever gets this error has certificates to revoke.
type ConflictError struct {
	// Kind is ErrSharedFactor or ErrDuplicate.
	Kind Sentinel
	// Keys are the ids that the caller gave them.
	Keys []string
}

// Error implements error. It names the first few keys only.
func (e *ConflictError) Error() string {
	const enough = 5
	if more := len(e.Keys) - enough; more > 0 {
		return fmt.Sprintf("%v: %s and %d more", e.Kind, strings.Join(e.Keys[:enough], ", "), more)
	}
	return fmt.Sprintf("%v: %s", e.Kind, strings.Join(e.Keys, ", "))
}

// Unwrap gives the kind.
func (e *ConflictError) Unwrap() error { return e.Kind }
