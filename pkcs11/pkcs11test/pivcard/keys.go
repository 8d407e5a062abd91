package pivcard

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"time"
)

// Algorithm identifiers (SP 800-78-4, table 6-2).
const (
	algRSA2048 = 0x07
	algP256    = 0x11
	algP384    = 0x14
)

// generate is GENERATE ASYMMETRIC KEY PAIR.
func (c *Card) generate(ref byte, data []byte) ([]byte, uint16) {
	if !c.session.authenticated {
		return nil, swNotAuthorised
	}
	list, err := parseTLV(data)
	if err != nil {
		return nil, swBadData
	}
	template, ok := find(list, "\xac")
	if !ok {
		return nil, swBadData
	}
	inner, err := parseTLV(template)
	if err != nil {
		return nil, swBadData
	}
	algorithm, ok := find(inner, "\x80")
	if !ok || len(algorithm) != 1 {
		return nil, swBadData
	}
	time.Sleep(c.Slow)
	key, err := newKey(algorithm[0])
	if err != nil {
		return nil, swBadData
	}
	c.slots[ref] = &slot{algorithm[0], key}
	return tlv("\x7f\x49", publicKey(key.Public())...), swOK
}

func newKey(algorithm byte) (crypto.Signer, error) {
	switch algorithm {
	case algRSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case algP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case algP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return nil, errTLV
}

// publicKey is a public key as data objects (SP 800-73-4, part 2, table 9).
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

// useKey signs what the host has padded or hashed. The PIN must have been verified;
// slot 9C wants that anew for every use.
func (c *Card) useKey(algorithm, ref byte, inner []element) ([]byte, uint16) {
	const signature = 0x9C
	s := c.slots[ref]
	input, ok := find(inner, "\x81")
	switch {
	case s == nil:
		return nil, swNoReference
	case algorithm != s.algorithm || !ok:
		return nil, swBadData
	case !c.session.verified:
		return nil, swNotAuthorised
	}
	if ref == signature {
		c.session.verified = false
	}
	var out []byte
	switch k := s.key.(type) {
	case *rsa.PrivateKey:
		out = rawRSA(k, input)
	case *ecdsa.PrivateKey:
		var err error
		if out, err = ecdsa.SignASN1(rand.Reader, k, input); err != nil {
			return nil, swBadData
		}
	}
	if out == nil {
		return nil, swBadData
	}
	return tlv("\x7c", tlv("\x82", out...)...), swOK
}

// rawRSA is the private-key operation on an input that the host has padded already.
func rawRSA(k *rsa.PrivateKey, input []byte) []byte {
	m := new(big.Int).SetBytes(input)
	if len(input) != k.Size() || m.Cmp(k.N) >= 0 {
		return nil
	}
	return new(big.Int).Exp(m, k.D, k.N).FillBytes(make([]byte, k.Size()))
}

// metadata is Yubico's GET METADATA of a key or a PIN.
func (c *Card) metadata(ref byte) ([]byte, uint16) {
	yes := func(is bool) byte {
		if is {
			return 1
		}
		return 0
	}
	switch ref {
	case refPIN, refPUK:
		s := c.reference(ref)
		isDefault := s.value == map[byte]string{refPIN: FactoryPIN, refPUK: FactoryPUK}[ref]
		return append(tlv("\x01", 0xff), append(tlv("\x05", yes(isDefault)), tlv("\x06", tries, byte(s.left))...)...), swOK
	case refManagement:
		return append(tlv("\x01", 0x03), append(tlv("\x02", 0, 1), tlv("\x05", yes(string(c.key) == string(factoryKey())))...)...), swOK
	}
	s := c.slots[ref]
	if s == nil {
		return nil, swNoReference
	}
	const once, always, never, generated = 2, 3, 1, 1
	policy := byte(once)
	if ref == 0x9C {
		policy = always
	}
	out := append(tlv("\x01", s.algorithm), tlv("\x02", policy, never)...)
	out = append(out, tlv("\x03", generated)...)
	return append(out, tlv("\x04", publicKey(s.key.Public())...)...), swOK
}
