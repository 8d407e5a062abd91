package keycheck

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// maxSPKI bounds what is parsed: RSA-16384 takes about 2100 bytes.
const maxSPKI = 4096

// publicKey is a parsed SubjectPublicKeyInfo; one of the two is set.
type publicKey struct {
	rsa *rsaKey
	ec  *ecKey
}

type rsaKey struct{ n, e *big.Int }

type ecKey struct {
	params []byte // DER of ECParameters
	point  []byte
}

// spkiASN is the SubjectPublicKeyInfo of RFC 5280, 4.1.2.7.
type spkiASN struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

// rsaASN is the RSAPublicKey of RFC 8017, A.1.1.
type rsaASN struct{ N, E *big.Int }

func oidRSA() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1} } // RFC 3279, 2.3.1
func oidEC() asn1.ObjectIdentifier  { return asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1} }     // RFC 5480, 2.1.1

// parse reads a SubjectPublicKeyInfo that has exactly one spelling. ErrMalformed, ErrKeyType.
func parse(spki []byte) (publicKey, error) {
	if len(spki) > maxSPKI {
		return publicKey{}, fmt.Errorf("%w: %d bytes are more than any key takes", ErrMalformed, len(spki))
	}
	var info spkiASN
	if err := decode("SubjectPublicKeyInfo", spki, &info); err != nil {
		return publicKey{}, err
	}
	if info.Key.BitLength%8 != 0 {
		return publicKey{}, fmt.Errorf("%w: %d bits are not whole bytes", ErrMalformed, info.Key.BitLength)
	}
	switch id := info.Algorithm.Algorithm; {
	case id.Equal(oidRSA()):
		key, err := parseRSA(info)
		return publicKey{rsa: key}, err
	case id.Equal(oidEC()):
		return publicKey{ec: &ecKey{info.Algorithm.Parameters.FullBytes, info.Key.Bytes}}, nil
	default:
		return publicKey{}, fmt.Errorf("%w: algorithm %s is neither RSA nor EC", ErrKeyType, id)
	}
}

func parseRSA(info spkiASN) (*rsaKey, error) {
	// RFC 3279, 2.3.1: the parameters are NULL, and are there.
	if !bytes.Equal(info.Algorithm.Parameters.FullBytes, asn1.NullBytes) {
		return nil, fmt.Errorf("%w: RSA parameters %x, wanted NULL", ErrMalformed, info.Algorithm.Parameters.FullBytes)
	}
	var key rsaASN
	if err := decode("RSAPublicKey", info.Key.Bytes, &key); err != nil {
		return nil, err
	}
	if key.N.Sign() <= 0 || key.E.Sign() <= 0 {
		return nil, fmt.Errorf("%w: a modulus or exponent that is not positive", ErrMalformed)
	}
	return &rsaKey{key.N, key.E}, nil
}

// decode unmarshals the whole of der, and refuses whatever encoding/asn1 lets
// through though it would not write it itself, such as more elements at the end of
// a SEQUENCE.
func decode[T any](what string, der []byte, into *T) error {
	if _, err := asn1.Unmarshal(der, into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMalformed, what, err)
	}
	again, err := asn1.Marshal(*into)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMalformed, what, err)
	}
	if !bytes.Equal(again, der) {
		return fmt.Errorf("%w: %s is not plain DER, or something follows it", ErrMalformed, what)
	}
	return nil
}
