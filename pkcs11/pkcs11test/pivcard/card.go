package pivcard

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"time"
)

// What a card comes with, as Yubico documents it.
const (
	FactoryPIN           = "123456"
	FactoryPUK           = "12345678"
	FactoryManagementKey = "010203040506070801020304050607080102030405060708" // 3DES, hexadecimal
)

// tries is how many wrong PINs or PUKs in a row block them.
const tries = 3

// Status words (ISO 7816-4, 5.1.3; SP 800-73-4, table 7).
const (
	swOK             = 0x9000
	swMore           = 0x6100 // with the number of bytes that wait
	swTriesLeft      = 0x63C0 // with their number
	swLength         = 0x6700
	swNotAuthorised  = 0x6982
	swBlocked        = 0x6983
	swConditions     = 0x6985
	swBadData        = 0x6A80
	swNotFound       = 0x6A82
	swBadParameters  = 0x6A86
	swNoReference    = 0x6A88
	swNoInstruction  = 0x6D00
	swChainNotEnded  = 0x6883
	chaining         = 0x10 // bit of CLA: more of the command follows
	maxShortResponse = 256
)

// Card is one card. What it holds survives being pulled; logins do not. Its methods
// are safe for concurrent use.
type Card struct {
	// Serial is shown on the token, decimal.
	Serial uint32
	// Slow is how long a key generation takes besides what it takes.
	Slow time.Duration
	// Before hears of every command APDU before it is carried out; it may be nil. It
	// may pull the card.
	Before func(apdu []byte)

	mu       sync.Mutex
	pin, puk secret
	key      []byte // the management key
	slots    map[byte]*slot
	objects  map[string][]byte
	maker    *Maker
	attester crypto.Signer // the key of slot F9
	attest   *x509.Certificate

	session session
}

// secret is a PIN or PUK with its counter.
type secret struct {
	value string
	left  int
}

// slot is a key in its place, for example 9A.
type slot struct {
	algorithm byte
	key       crypto.Signer
}

// session is what ends when the card is reset or pulled.
type session struct {
	selected      bool
	verified      bool   // by the PIN
	authenticated bool   // by the management key
	witness       []byte // of an authentication under way
	command       []byte // data of a chained command so far
	response      []byte // what is still to be fetched
}

// New makes a card as the maker delivers it.
func New(serial uint32, maker *Maker) (*Card, error) {
	c := &Card{Serial: serial, maker: maker}
	c.reset()
	var err error
	c.attester, c.attest, err = maker.attester(serial)
	if err != nil {
		return nil, err
	}
	c.objects[objectAttestation] = wrapCertificate(c.attest.Raw)
	return c, nil
}

// reset puts the application into the state of delivery, except for slot F9.
func (c *Card) reset() {
	c.pin, c.puk = secret{FactoryPIN, tries}, secret{FactoryPUK, tries}
	c.key = factoryKey()
	c.slots, c.objects = map[byte]*slot{}, map[string][]byte{}
	if c.attest != nil {
		c.objects[objectAttestation] = wrapCertificate(c.attest.Raw)
	}
	c.session = session{selected: c.session.selected}
}

// powerOn begins a session.
func (c *Card) powerOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session{}
}

// Command carries out a command APDU and returns the response APDU.
func (c *Card) Command(apdu []byte) []byte {
	if len(apdu) < 4 {
		return status(swLength)
	}
	if c.Before != nil {
		c.Before(apdu)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cla, ins, p1, p2 := apdu[0], apdu[1], apdu[2], apdu[3]
	data, ok := commandData(apdu[4:])
	if !ok {
		return status(swLength)
	}
	if ins == insGetResponse {
		return c.respond(nil, swOK)
	}
	c.session.response = nil
	data = append(c.session.command, data...)
	c.session.command = nil
	if cla&chaining != 0 {
		c.session.command = bytes.Clone(data)
		return status(swOK)
	}
	return c.respond(c.dispatch(ins, p1, p2, data))
}

// commandData takes Lc and Le off, short or extended (ISO 7816-4, 5.1).
func commandData(b []byte) ([]byte, bool) {
	switch {
	case len(b) <= 1:
		return nil, true // at most Le
	case b[0] == 0 && len(b) >= 3:
		n := int(binary.BigEndian.Uint16(b[1:]))
		if len(b) == 3 { // extended Le alone
			return nil, true
		}
		return within(b[3:], n)
	default:
		return within(b[1:], int(b[0]))
	}
}

func within(b []byte, n int) ([]byte, bool) {
	if n > len(b) {
		return nil, false
	}
	return b[:n], true
}

// respond gives at most one short response; what is left waits for GET RESPONSE.
func (c *Card) respond(data []byte, sw uint16) []byte {
	if data == nil {
		data, c.session.response = c.session.response, nil
	}
	if len(data) > maxShortResponse {
		c.session.response = data[maxShortResponse:]
		left := min(len(c.session.response), 0xff)
		return append(bytes.Clone(data[:maxShortResponse]), status(swMore|uint16(left))...)
	}
	return append(bytes.Clone(data), status(sw)...)
}

func status(sw uint16) []byte { return []byte{byte(sw >> 8), byte(sw)} }
