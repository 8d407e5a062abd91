package audit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// Cosigner is the name under which a central server signs; no station can have it.
const Cosigner = "usbkeyd.central"

// algECDSA is the algorithm's number in signed notes.
const algECDSA = 0x02

// ErrKey says that a key cannot sign checkpoints.
var ErrKey = errors.New("checkpoints are signed with ECDSA keys on P-256")

// verifier is a note.Verifier for ECDSA on P-256 with SHA-256. The package note makes
// verifiers for Ed25519 only, which hardly any TPM has.
type verifier struct {
	name string
	hash uint32
	key  *ecdsa.PublicKey
}

// NewVerifier makes the verifier of a key under a name. Another kind of key is an ErrKey.
func NewVerifier(name string, public crypto.PublicKey) (note.Verifier, error) {
	return newVerifier(name, public)
}

func newVerifier(name string, public crypto.PublicKey) (*verifier, error) {
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w, not %T", ErrKey, public)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	h := sha256.New()
	h.Write(append([]byte(name), '\n', algECDSA))
	h.Write(der)
	return &verifier{name, binary.BigEndian.Uint32(h.Sum(nil)), key}, nil
}

// Name implements note.Verifier.
func (v *verifier) Name() string { return v.name }

// KeyHash implements note.Verifier: the first four bytes of the SHA-256 over the name,
// a line feed, 0x02 and the DER SubjectPublicKeyInfo.
func (v *verifier) KeyHash() uint32 { return v.hash }

// Verify implements note.Verifier.
func (v *verifier) Verify(msg, sig []byte) bool {
	sum := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(v.key, sum[:], sig)
}

// signer is a note.Signer over a key that need not leave its TPM.
type signer struct {
	*verifier
	key crypto.Signer
}

// NewSigner makes the signer of a key under a name. Another kind of key is an ErrKey.
func NewSigner(name string, key crypto.Signer) (note.Signer, error) {
	v, err := newVerifier(name, key.Public())
	if err != nil {
		return nil, err
	}
	return &signer{v, key}, nil
}

// Sign implements note.Signer.
func (s *signer) Sign(msg []byte) ([]byte, error) {
	sum := sha256.Sum256(msg)
	return s.key.Sign(rand.Reader, sum[:], crypto.SHA256)
}
