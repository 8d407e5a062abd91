package cryptoki

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// Limits on what a module may hand us as a public key, in bytes: RSA of 16384
// bits, and the uncompressed point of a 1024-bit field.
const (
	maxRSAModulus = 2048
	maxECPoint    = 257
)

// subjectPublicKeyInfo is RFC 5280, section 4.1.2.7, with the algorithm's
// parameters passed through as the module gave them.
type subjectPublicKeyInfo struct {
	Algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters asn1.RawValue
	}
	PublicKey asn1.BitString
}

func marshalPublicKeyInfo(oid asn1.ObjectIdentifier, params asn1.RawValue, key []byte) ([]byte, error) {
	var spki subjectPublicKeyInfo
	spki.Algorithm.OID = oid
	spki.Algorithm.Parameters = params
	spki.PublicKey = asn1.BitString{Bytes: key, BitLength: 8 * len(key)}
	return asn1.Marshal(spki)
}

// rsaPublicKeyInfo takes big-endian integers, with or without leading zeros.
func rsaPublicKeyInfo(modulus, exponent []byte) ([]byte, error) {
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if len(modulus) > maxRSAModulus || len(exponent) > maxRSAModulus || n.Sign() == 0 || e.Sign() == 0 {
		return nil, fmt.Errorf("modulus of %d and exponent of %d bytes are no RSA key", len(modulus), len(exponent))
	}
	key, err := asn1.Marshal(struct{ N, E *big.Int }{n, e}) // RFC 8017, appendix A.1.1
	if err != nil {
		return nil, err
	}
	// rsaEncryption, RFC 8017, appendix A.1
	return marshalPublicKeyInfo(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, asn1.NullRawValue, key)
}

// ecPublicKeyInfo takes CKA_EC_PARAMS and CKA_EC_POINT, whatever the curve.
func ecPublicKeyInfo(params, point []byte) ([]byte, error) {
	var p asn1.RawValue
	if rest, err := asn1.Unmarshal(params, &p); err != nil || len(rest) > 0 {
		return nil, errors.New("CKA_EC_PARAMS is not one DER value")
	}
	q, err := ecPoint(point)
	if err != nil {
		return nil, err
	}
	// id-ecPublicKey, RFC 5480, section 2.1.1
	return marshalPublicKeyInfo(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, asn1.RawValue{FullBytes: params}, q)
}

// ecPoint gives the point itself, of CKA_EC_POINT as the specification has it
// (in an OCTET STRING; Mechanisms, section 2.3.3) or raw, as some modules do.
//
// Both begin with 0x04, as the tag OCTET STRING and as the mark of an
// uncompressed point, and a raw point can look like an OCTET STRING by chance of
// its first bytes. The length decides: coordinates in use have an even number of
// octets, so that 1+2n is 1 modulo 4, and unwrapping a point that was raw would
// leave one with an odd number.
func ecPoint(value []byte) ([]byte, error) {
	if len(value) == 0 || len(value) > maxECPoint+4 {
		return nil, fmt.Errorf("CKA_EC_POINT of %d bytes", len(value))
	}
	inner, wrapped := octetString(value)
	switch {
	case wrapped && uncompressed(inner):
		return inner, nil
	case uncompressed(value):
		return value, nil
	case wrapped && compressed(inner):
		return inner, nil
	case compressed(value):
		return value, nil
	}
	return nil, errors.New("CKA_EC_POINT is no elliptic curve point")
}

// uncompressed and compressed know a point by its first octet (SEC 1, section
// 2.3.3) and length.
func uncompressed(p []byte) bool { return len(p) > 1 && p[0] == 0x04 && len(p)%4 == 1 }

func compressed(p []byte) bool { return len(p) > 1 && (p[0] == 0x02 || p[0] == 0x03) && len(p)%2 == 1 }

func octetString(der []byte) (content []byte, ok bool) {
	rest, err := asn1.Unmarshal(der, &content)
	return content, err == nil && len(rest) == 0
}
