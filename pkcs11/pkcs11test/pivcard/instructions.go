package pivcard

import (
	"bytes"
	"crypto/des"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
)

// Instructions of SP 800-73-4, part 2, chapter 3, and from 0xF7 on Yubico's own.
const (
	insVerify       = 0x20
	insChange       = 0x24
	insUnblock      = 0x2C
	insGenerate     = 0x47
	insAuthenticate = 0x87
	insSelect       = 0xA4
	insGetResponse  = 0xC0
	insGetData      = 0xCB
	insPutData      = 0xDB
	insMetadata     = 0xF7
	insSerial       = 0xF8
	insAttest       = 0xF9
	insReset        = 0xFB
	insVersion      = 0xFD
	insSetKey       = 0xFF
)

// Key references (SP 800-78-4, table 6-1).
const (
	refPIN        = 0x80
	refPUK        = 0x81
	refManagement = 0x9B
)

// version is the firmware that the card claims: with attestation and metadata, and
// with 3DES for its management key.
func version() []byte { return []byte{5, 4, 3} }

func applicationID() []byte { return []byte{0xA0, 0, 0, 3, 8} }

func factoryKey() []byte {
	key, err := hex.DecodeString(FactoryManagementKey)
	if err != nil {
		panic(err) // it is a constant
	}
	return key
}

// dispatch carries out a whole command.
func (c *Card) dispatch(ins, p1, p2 byte, data []byte) ([]byte, uint16) {
	if ins == insSelect {
		return c.selectApplication(data)
	}
	if !c.session.selected {
		return nil, swConditions
	}
	switch ins {
	case insVerify:
		return nil, c.verify(p1, p2, data)
	case insChange:
		return nil, c.change(p2, data)
	case insUnblock:
		return nil, c.unblock(p2, data)
	case insAuthenticate:
		return c.authenticate(p1, p2, data)
	case insGenerate:
		return c.generate(p2, data)
	case insGetData:
		return c.getData(data)
	case insPutData:
		return nil, c.putData(data)
	case insMetadata:
		return c.metadata(p2)
	case insSerial:
		return binary.BigEndian.AppendUint32(nil, c.Serial), swOK
	case insVersion:
		return version(), swOK
	case insAttest:
		return c.attestation(p1)
	case insReset:
		return nil, c.resetWhenBlocked()
	case insSetKey:
		return nil, c.setKey(data)
	}
	return nil, swNoInstruction
}

// selectApplication knows the PIV application alone, by any prefix of its name that
// is long enough to mean it.
func (c *Card) selectApplication(name []byte) ([]byte, uint16) {
	if len(name) < len(applicationID()) || !bytes.HasPrefix(name, applicationID()) {
		return nil, swNotFound
	}
	c.session = session{selected: true}
	// The application property template (SP 800-73-4, part 2, table 3).
	return tlv("\x61", append(tlv("\x4f", 0, 0, 0x10, 0, 1, 0), tlv("\x79", tlv("\x4f", applicationID()...)...)...)...), swOK
}

// try compares a PIN or PUK and counts.
func (s *secret) try(padded []byte) uint16 {
	if s.left == 0 {
		return swBlocked
	}
	given := bytes.TrimRight(padded, "\xff")
	if subtle.ConstantTimeCompare(given, []byte(s.value)) == 1 {
		s.left = tries
		return swOK
	}
	s.left--
	if s.left == 0 {
		return swBlocked
	}
	return swTriesLeft | uint16(s.left)
}

// verify is VERIFY; without data it tells how many tries are left.
func (c *Card) verify(p1, p2 byte, data []byte) uint16 {
	if p2 != refPIN {
		return swNoReference
	}
	switch {
	case p1 == 0xff:
		c.session.verified = false
		return swOK
	case len(data) == 0 && c.session.verified:
		return swOK
	case len(data) == 0 && c.pin.left == 0:
		return swBlocked
	case len(data) == 0:
		return swTriesLeft | uint16(c.pin.left)
	case len(data) != 8:
		return swBadData
	}
	sw := c.pin.try(data)
	c.session.verified = sw == swOK
	return sw
}

// change is CHANGE REFERENCE DATA: the old one, then the new one.
func (c *Card) change(ref byte, data []byte) uint16 {
	which := c.reference(ref)
	if which == nil {
		return swNoReference
	}
	if len(data) != 16 {
		return swBadData
	}
	return which.replace(which.try(data[:8]), data[8:])
}

// unblock is RESET RETRY COUNTER: the PUK, then a new PIN.
func (c *Card) unblock(ref byte, data []byte) uint16 {
	if ref != refPIN || len(data) != 16 {
		return swBadData
	}
	return c.pin.replace(c.puk.try(data[:8]), data[8:])
}

// replace sets a new value if what was asked for it came out right.
func (s *secret) replace(sw uint16, padded []byte) uint16 {
	if sw != swOK {
		return sw
	}
	value := bytes.TrimRight(padded, "\xff")
	if len(value) < 6 {
		return swBadData
	}
	s.value, s.left = string(value), tries
	return swOK
}

func (c *Card) reference(ref byte) *secret {
	switch ref {
	case refPIN:
		return &c.pin
	case refPUK:
		return &c.puk
	}
	return nil
}

// authenticate is GENERAL AUTHENTICATE: of the host by the management key, or the use
// of a private key.
func (c *Card) authenticate(algorithm, ref byte, data []byte) ([]byte, uint16) {
	outer, err := parseTLV(data)
	if err != nil {
		return nil, swBadData
	}
	template, ok := find(outer, "\x7c")
	if !ok {
		return nil, swBadData
	}
	inner, err := parseTLV(template)
	if err != nil {
		return nil, swBadData
	}
	if ref == refManagement {
		return c.authenticateHost(algorithm, inner)
	}
	return c.useKey(algorithm, ref, inner)
}

// authenticateHost is mutual authentication (SP 800-73-4, part 2, A.1.2) by 3DES: the
// card sends an encrypted witness, the host shows it in clear with a challenge of its
// own, which the card encrypts.
func (c *Card) authenticateHost(algorithm byte, inner []element) ([]byte, uint16) {
	const tripleDES = 0x03
	block, err := des.NewTripleDESCipher(c.key)
	if err != nil || algorithm != tripleDES && algorithm != 0 {
		return nil, swBadParameters
	}
	witness, hasWitness := find(inner, "\x80")
	challenge, hasChallenge := find(inner, "\x81")
	out := make([]byte, block.BlockSize())
	switch {
	case hasWitness && len(witness) == 0:
		c.session.witness = make([]byte, block.BlockSize())
		if _, err := rand.Read(c.session.witness); err != nil {
			return nil, swConditions
		}
		block.Encrypt(out, c.session.witness)
		return tlv("\x7c", tlv("\x80", out...)...), swOK
	case hasWitness && hasChallenge && len(challenge) == len(out):
		right := c.session.witness != nil && subtle.ConstantTimeCompare(witness, c.session.witness) == 1
		c.session.witness, c.session.authenticated = nil, right
		if !right {
			return nil, swNotAuthorised
		}
		block.Encrypt(out, challenge)
		return tlv("\x7c", tlv("\x82", out...)...), swOK
	}
	return nil, swBadData
}

// setKey replaces the management key: algorithm, reference, length, key.
func (c *Card) setKey(data []byte) uint16 {
	const size = 24
	switch {
	case !c.session.authenticated:
		return swNotAuthorised
	case len(data) != 3+size || data[0] != 0x03 || data[1] != refManagement || data[2] != size:
		return swBadData
	}
	c.key = bytes.Clone(data[3:])
	return swOK
}

// resetWhenBlocked is the reset of the application, which wants PIN and PUK blocked.
func (c *Card) resetWhenBlocked() uint16 {
	if c.pin.left > 0 || c.puk.left > 0 {
		return swConditions
	}
	c.reset()
	return swOK
}

// Tags of data objects (SP 800-73-4, part 1, table 3, and Yubico's of slot F9).
const objectAttestation = "\x5f\xff\x01"

// getData is GET DATA: the object in its template 53.
func (c *Card) getData(data []byte) ([]byte, uint16) {
	list, err := parseTLV(data)
	if err != nil {
		return nil, swBadData
	}
	tag, ok := find(list, "\x5c")
	if !ok {
		return nil, swBadData
	}
	if string(tag) == "\x7e" {
		return discovery(), swOK
	}
	object, ok := c.objects[string(tag)]
	if !ok || len(object) == 0 {
		return nil, swNotFound
	}
	return tlv("\x53", object...), swOK
}

// putData is PUT DATA; an empty object is a deleted one.
func (c *Card) putData(data []byte) uint16 {
	if !c.session.authenticated {
		return swNotAuthorised
	}
	list, err := parseTLV(data)
	if err != nil {
		return swBadData
	}
	tag, hasTag := find(list, "\x5c")
	object, hasObject := find(list, "\x53")
	if !hasTag || !hasObject {
		return swBadData
	}
	c.objects[string(tag)] = bytes.Clone(object)
	return swOK
}

// discovery is the discovery object, which is a template of its own: which application,
// and that the PIN is the application's (SP 800-73-4, part 1, 3.3.2).
func discovery() []byte {
	name := tlv("\x4f", 0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0)
	return tlv("\x7e", append(name, tlv("\x5f\x2f", 0x40, 0)...)...)
}
