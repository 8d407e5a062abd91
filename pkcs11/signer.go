package pkcs11

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
)

// signer is a private key on a token as a crypto.Signer.
type signer struct {
	ctx   context.Context // crypto.Signer has no room for one; a signer lives for one operation
	token Token
	key   Object
	alg   Algorithm
	pub   crypto.PublicKey
}

// NewSigner returns the private key that belongs to the public key object key
// as a crypto.Signer. Signing needs LoginUser on the token. ctx bounds every
// signature made through it.
func NewSigner(ctx context.Context, token Token, key Object, alg Algorithm) (crypto.Signer, error) {
	pub, err := x509.ParsePKIXPublicKey(key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("public key %s on the token: %w", key.ID, err)
	}
	return &signer{ctx: ctx, token: token, key: key, alg: alg, pub: pub}, nil
}

// Public implements crypto.Signer.
func (s *signer) Public() crypto.PublicKey { return s.pub }

// Sign implements crypto.Signer: digest is already hashed with opts.HashFunc(),
// which must be the algorithm's.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != s.alg.Hash || len(digest) != s.alg.Hash.Size() {
		return nil, fmt.Errorf("sign with %s: want a %s digest, got %s of %d bytes", s.alg.Name, s.alg.Hash, opts.HashFunc(), len(digest))
	}
	switch s.alg.Form {
	case SignatureRSAPKCS1:
		info, err := digestInfo(s.alg.Hash, digest)
		if err != nil {
			return nil, err
		}
		return s.token.Sign(s.ctx, s.key.ID, s.alg.Sign, info)
	case SignatureECDSA:
		raw, err := s.token.Sign(s.ctx, s.key.ID, s.alg.Sign, digest)
		if err != nil {
			return nil, err
		}
		return ecdsaSigValue(raw)
	default:
		return nil, fmt.Errorf("sign with %s: unknown signature form %q", s.alg.Name, s.alg.Form)
	}
}

// digestInfo is the DigestInfo of RFC 8017, section 9.2 (EMSA-PKCS1-v1_5).
func digestInfo(h crypto.Hash, digest []byte) ([]byte, error) {
	oids := map[crypto.Hash]asn1.ObjectIdentifier{ // RFC 8017, appendix B.1
		crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
		crypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2},
		crypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
	}
	oid, ok := oids[h]
	if !ok {
		return nil, fmt.Errorf("no DigestInfo for %s", h)
	}
	type algorithmIdentifier struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue
	}
	return asn1.Marshal(struct {
		DigestAlgorithm algorithmIdentifier
		Digest          []byte
	}{algorithmIdentifier{oid, asn1.NullRawValue}, digest})
}

// ecdsaSigValue turns r || s into the Ecdsa-Sig-Value of RFC 3279, section 2.2.3.
func ecdsaSigValue(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 {
		return nil, fmt.Errorf("ECDSA signature of %d bytes from the module is not r || s", len(raw))
	}
	half := len(raw) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:]),
	})
}
