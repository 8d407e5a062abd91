package csr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256" // registers the hashes that VerifyPossession takes
	_ "crypto/sha512"
	"fmt"
	"io"
)

// challengePrefix keeps a signature over a challenge from meaning anything else:
// no DER structure that is signed elsewhere begins like this.
const challengePrefix = "usbkeyd proof of possession\x00"

// challengeRandom is the number of random bytes: 256 bits never repeat.
const challengeRandom = 32

// NewChallenge makes a fresh message to be hashed and signed as a proof of
// possession. random is crypto/rand.Reader outside tests.
func NewChallenge(random io.Reader) ([]byte, error) {
	challenge := make([]byte, len(challengePrefix)+challengeRandom)
	n := copy(challenge, challengePrefix)
	if _, err := io.ReadFull(random, challenge[n:]); err != nil {
		return nil, fmt.Errorf("make challenge: %w", err)
	}
	return challenge, nil
}

// VerifyPossession checks, by Go's own cryptography and so outside the module
// that signed, that signature is over challenge by the private key of pub: RSA
// PKCS#1 v1.5 or a DER Ecdsa-Sig-Value, over the hash (SHA-256, SHA-384 or
// SHA-512) of challenge. Errors: ErrBadSignature, ErrUnsupportedKey.
func VerifyPossession(pub crypto.PublicKey, challenge, signature []byte, hash crypto.Hash) error {
	if err := checkPublicKey(pub); err != nil {
		return err
	}
	switch hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return fmt.Errorf("%w: hash %s is not allowed", ErrBadSignature, hash)
	}
	if len(challenge) < challengeRandom {
		return fmt.Errorf("%w: a challenge of %d bytes is too short to be fresh", ErrBadSignature, len(challenge))
	}
	h := hash.New()
	h.Write(challenge)
	digest := h.Sum(nil)
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(k, hash, digest, signature); err != nil {
			return fmt.Errorf("%w: %w", ErrBadSignature, err)
		}
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(k, digest, signature) {
			return fmt.Errorf("%w: ECDSA", ErrBadSignature)
		}
	}
	return nil
}
