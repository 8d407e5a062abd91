package pivcard

import (
	"bytes"
	"crypto/des"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
)

// algTripleDES is the management key's (SP 800-78-4, table 6-2); 0 means the same.
const algTripleDES = 0x03

func factoryKey() []byte {
	key, err := hex.DecodeString(FactoryManagementKey)
	if err != nil {
		return nil // it is a constant
	}
	return key
}

// authenticate is GENERAL AUTHENTICATE (SP 800-73-4, part 2, 3.2.4): of the host by
// the management key, or the use of a private key.
func (c *Card) authenticate(algorithm, ref byte, data []byte) ([]byte, uint16) {
	const dynamic = "\x7c" // dynamic authentication template
	inner, ok := nested(data, dynamic)
	if !ok {
		return nil, swBadData
	}
	var (
		out []byte
		sw  uint16
	)
	if ref == refManagement {
		out, sw = c.authenticateHost(algorithm, inner)
	} else {
		out, sw = c.useKey(algorithm, ref, inner)
	}
	if sw != swOK {
		return nil, sw
	}
	return tlv(dynamic, out...), swOK
}

// Tags within the dynamic authentication template (SP 800-73-4, part 2, table 7).
const (
	tagWitness   = "\x80"
	tagChallenge = "\x81"
	tagResponse  = "\x82"
)

// authenticateHost is mutual authentication (SP 800-73-4, part 2, A.2): the card gives
// an encrypted witness, the host returns it in clear with a challenge of its own,
// which the card encrypts.
func (c *Card) authenticateHost(algorithm byte, inner []element) ([]byte, uint16) {
	block, err := des.NewTripleDESCipher(c.key)
	if err != nil || algorithm != algTripleDES && algorithm != 0 {
		return nil, swBadParameters
	}
	witness, hasWitness := find(inner, tagWitness)
	challenge, hasChallenge := find(inner, tagChallenge)
	out := make([]byte, block.BlockSize())
	switch {
	case hasWitness && len(witness) == 0:
		c.session.witness = make([]byte, block.BlockSize())
		if _, err := rand.Read(c.session.witness); err != nil {
			return nil, swConditions
		}
		block.Encrypt(out, c.session.witness)
		return tlv(tagWitness, out...), swOK
	case hasWitness && hasChallenge && len(challenge) == len(out):
		right := c.session.witness != nil && subtle.ConstantTimeCompare(witness, c.session.witness) == 1
		c.session.witness, c.session.authenticated = nil, right
		if !right {
			return nil, swNotAuthorised
		}
		block.Encrypt(out, challenge)
		return tlv(tagResponse, out...), swOK
	}
	return nil, swBadData
}

// setKey is Yubico's SET MANAGEMENT KEY: algorithm, reference, length, key.
func (c *Card) setKey(data []byte) uint16 {
	const size = 24
	switch {
	case !c.session.authenticated:
		return swNotAuthorised
	case len(data) != 3+size || data[0] != algTripleDES || data[1] != refManagement || data[2] != size:
		return swBadData
	}
	c.key = bytes.Clone(data[3:])
	return swOK
}
