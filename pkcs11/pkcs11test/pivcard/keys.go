package pivcard

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"time"
)

// Slots of keys (SP 800-73-4, part 1, table 4), and Yubico's of the attestation key.
const (
	slotSignature   = 0x9C
	slotCard        = 0x9E
	slotRetired1    = 0x82
	slotRetired20   = 0x95
	slotAttestation = 0xF9
)

func isSlot(ref byte) bool {
	return ref >= slotRetired1 && ref <= slotRetired20 || ref == slotAttestation || ref >= 0x9A && ref <= slotCard && ref != refManagement
}

// Algorithm identifiers (SP 800-78-4, table 6-2).
const (
	algRSA2048 = 0x07
	algP256    = 0x11
	algP384    = 0x14
)

// What Yubico's GET METADATA and attestations say of a key.
const (
	originGenerated = 1
	originImported  = 2
	policyDefault   = 0
	pinNever        = 1
	pinOnce         = 2
	pinAlways       = 3
	touchNever      = 1
)

// generate is GENERATE ASYMMETRIC KEY PAIR (SP 800-73-4, part 2, 3.3.2), with Yubico's
// policies. A card that loses power meanwhile keeps the key that it had.
func (c *Card) generate(power context.Context, ref byte, data []byte) ([]byte, uint16) {
	if !c.session.authenticated {
		return nil, swNotAuthorised
	}
	if !isSlot(ref) {
		return nil, swBadParameters
	}
	inner, ok := nested(data, "\xac")
	if !ok {
		return nil, swBadData
	}
	s := &slot{
		algorithm: one(inner, "\x80"), origin: originGenerated,
		pinPolicy: one(inner, "\xaa"), touchPolicy: one(inner, "\xab"),
	}
	s.choosePolicies(ref)
	if s.key = newKey(s.algorithm); s.key == nil {
		return nil, swBadData
	}
	select {
	case <-time.After(c.Slow):
	case <-power.Done():
	}
	if power.Err() != nil {
		return nil, swConditions
	}
	c.slots[ref] = s
	return tlv("\x7f\x49", publicKey(s.key.Public())...), swOK
}

// choosePolicies puts the slot's usual policies where none was wished for.
func (s *slot) choosePolicies(ref byte) {
	if s.touchPolicy == policyDefault {
		s.touchPolicy = touchNever
	}
	if s.pinPolicy != policyDefault {
		return
	}
	switch ref {
	case slotSignature:
		s.pinPolicy = pinAlways
	case slotCard:
		s.pinPolicy = pinNever
	default:
		s.pinPolicy = pinOnce
	}
}

// newKey makes a key, or nil for an algorithm that the card does not have.
func newKey(algorithm byte) crypto.Signer {
	var (
		key crypto.Signer
		err error
	)
	switch algorithm {
	case algRSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case algP256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case algP384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	return key
}

// publicKey is a public key as data objects (SP 800-73-4, part 2, table 11).
func publicKey(public crypto.PublicKey) []byte {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return append(tlv("\x81", k.N.Bytes()...), tlv("\x82", big.NewInt(int64(k.E)).Bytes()...)...)
	case *ecdsa.PublicKey:
		if point, err := k.Bytes(); err == nil {
			return tlv("\x86", point...)
		}
	}
	return nil
}

// useKey signs what the host has padded or hashed, if the slot's PIN policy allows it.
func (c *Card) useKey(algorithm, ref byte, inner []element) ([]byte, uint16) {
	s := c.slots[ref]
	input, ok := find(inner, tagChallenge)
	switch {
	case s == nil || ref == slotAttestation:
		return nil, swNoReference
	case algorithm != s.algorithm || !ok:
		return nil, swBadData
	case s.pinPolicy != pinNever && !c.session.verified, s.pinPolicy == pinAlways && !c.session.fresh:
		return nil, swNotAuthorised
	}
	c.session.fresh = false
	out := sign(s.key, input)
	if out == nil {
		return nil, swBadData
	}
	return tlv(tagResponse, out...), swOK
}

// sign is the private-key operation; nil if the input does not fit the key.
func sign(key crypto.Signer, input []byte) []byte {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return rawRSA(k, input)
	case *ecdsa.PrivateKey:
		if len(input) > (k.Curve.Params().BitSize+7)/8 {
			return nil
		}
		if out, err := ecdsa.SignASN1(rand.Reader, k, input); err == nil {
			return out
		}
	}
	return nil
}

// rawRSA is for an input that the host has padded already, as the card does it.
func rawRSA(k *rsa.PrivateKey, input []byte) []byte {
	m := new(big.Int).SetBytes(input)
	if len(input) != k.Size() || m.Cmp(k.N) >= 0 {
		return nil
	}
	return new(big.Int).Exp(m, k.D, k.N).FillBytes(make([]byte, k.Size()))
}

// metadata is Yubico's GET METADATA of a key or a PIN.
func (c *Card) metadata(ref byte) ([]byte, uint16) {
	switch ref {
	case refPIN:
		return c.pin.metadata(FactoryPIN), swOK
	case refPUK:
		return c.puk.metadata(FactoryPUK), swOK
	case refManagement:
		isDefault := tlv("\x05", flag(string(c.key) == string(factoryKey())))
		return join(tlv("\x01", algTripleDES), tlv("\x02", 0, touchNever), isDefault), swOK
	}
	s := c.slots[ref]
	if s == nil {
		return nil, swNoReference
	}
	public := tlv("\x04", publicKey(s.key.Public())...)
	return join(tlv("\x01", s.algorithm), tlv("\x02", s.pinPolicy, s.touchPolicy), tlv("\x03", s.origin), public), swOK
}

// metadata says whether it is still the factory's, and how many tries there are and
// are left.
func (s *secret) metadata(factory string) []byte {
	const none = 0xff // of the algorithms
	return join(tlv("\x01", none), tlv("\x05", flag(s.value == factory)), tlv("\x06", tries, byte(s.left)))
}

func flag(is bool) byte {
	if is {
		return 1
	}
	return 0
}
