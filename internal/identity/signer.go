package identity

import (
	"crypto"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// Public implements crypto.Signer: an *ecdsa.PublicKey on P-256.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer for SHA-256 digests, the hash that TLS 1.3 uses with
// P-256; it gives an Ecdsa-Sig-Value in DER (RFC 3279, 2.2.3). The random source is
// not used: the TPM has its own. It is safe for concurrent use, and returns
// ErrAbsent, ErrBusy, ErrSlow, ErrDied, ErrOwned or ErrCleared.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, errors.New("the identity key signs SHA-256 only")
	}
	var signature []byte
	err := k.tpm.do("sign with the TPM", func(s *scope) error {
		key, err := s.identity(k)
		if err != nil {
			return err
		}
		made, err := tpm2.Sign{
			KeyHandle:  key.auth(),
			Digest:     tpm2.TPM2BDigest{Buffer: digest},
			InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, // the key has its own
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		}.Execute(s)
		if err != nil {
			return err
		}
		ecc, err := made.Signature.Signature.ECDSA()
		if err != nil {
			return err
		}
		signature, err = asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(ecc.SignatureR.Buffer), new(big.Int).SetBytes(ecc.SignatureS.Buffer),
		})
		return err
	})
	return signature, err
}

// identity is the identity key, loaded once on a connection: a TLS handshake should
// not wait for a root key to be made.
func (s *scope) identity(k *Key) (object, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](k.key.Public)
	if err != nil {
		return object{}, err
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return object{}, err
	}
	if s.loaded != 0 && s.owner == k {
		return object{s.loaded, *name, public}, nil
	}
	if err := s.unload(); err != nil {
		return object{}, err
	}
	// A scope of its own, so that the root key makes room at once: some TPMs have three
	// places in all.
	under := &scope{TPM: s.TPM}
	srk, err := under.root()
	if err != nil {
		return object{}, errors.Join(err, under.end())
	}
	o, err := under.loadFor(srk, k.key)
	if err := errors.Join(err, under.end()); err != nil {
		return object{}, err
	}
	s.loaded, s.owner = o.handle, k
	return o, nil
}

// unload flushes the identity key that is loaded, if one is.
func (t *TPM) unload() error {
	h := t.loaded
	t.loaded, t.owner = 0, nil
	if h == 0 {
		return nil
	}
	return flush(t, h)
}
