package pivcard

import (
	"context"
	"crypto"
	"sync"
	"sync/atomic"
	"time"
)

// What a card comes with, as Yubico documents it.
const (
	FactoryPIN           = "123456"
	FactoryPUK           = "12345678"
	FactoryManagementKey = "010203040506070801020304050607080102030405060708" // 3DES, hexadecimal
)

// Card is one card. What it holds survives being pulled; logins do not. Its methods
// are safe for concurrent use. Its fields are to be set while it is in no reader, or
// from within Before or After.
type Card struct {
	// Serial is shown on the token, decimal.
	Serial uint32
	// Slow is how long a key generation takes besides what it takes.
	Slow time.Duration
	// Before hears of every command APDU before it is carried out; it may be nil. If it
	// pulls the card, the command is not carried out.
	Before func(apdu []byte)
	// Refuse may answer a command APDU in the card's stead, with the status word that it
	// returns; 0 leaves it to the card. It may be nil.
	Refuse func(apdu []byte) uint16
	// After hears of every command APDU that was carried out, before it is answered; it
	// may be nil. If it pulls the card, nobody hears the answer.
	After func(apdu []byte)

	inserted atomic.Bool

	mu       sync.Mutex
	pin, puk secret
	key      []byte // the management key
	slots    map[byte]*slot
	objects  map[string][]byte
	file     string // where the card is kept, or ""

	session session
}

// slot is a key in its place, for example 9A.
type slot struct {
	algorithm, origin, pinPolicy, touchPolicy byte
	key                                       crypto.Signer
}

// session is what ends when the card is reset or pulled.
type session struct {
	selected      bool
	verified      bool // by the PIN
	fresh         bool // no key has been used since
	authenticated bool // by the management key
	witness       []byte
	chained       chain  // a command of which more is to come
	response      []byte // what is still to be fetched
}

// New makes a card as the maker delivers it.
func New(serial uint32, maker *Maker) (*Card, error) {
	attester, certificate, err := maker.attester(serial)
	if err != nil {
		return nil, err
	}
	c := &Card{Serial: serial}
	c.reset()
	c.slots[slotAttestation] = &slot{algP256, originImported, pinNever, touchNever, attester}
	c.objects[objectAttestation] = wrapCertificate(certificate.Raw)
	return c, nil
}

// reset puts the application into the state of delivery. Slot F9 stays as it is.
func (c *Card) reset() {
	c.pin, c.puk = secret{FactoryPIN, tries}, secret{FactoryPUK, tries}
	c.key = factoryKey()
	slots, objects := map[byte]*slot{}, map[string][]byte{}
	if s, ok := c.slots[slotAttestation]; ok {
		slots[slotAttestation] = s
	}
	if o, ok := c.objects[objectAttestation]; ok {
		objects[objectAttestation] = o
	}
	c.slots, c.objects = slots, objects
	c.session = session{selected: c.session.selected}
}

// powerOn begins a session.
func (c *Card) powerOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session{}
}

// Command carries out a command APDU and returns the response APDU.
func (c *Card) Command(apdu []byte) []byte { return c.command(context.Background(), apdu) }

// command carries out a command as long as there is power; without it, it returns nil.
func (c *Card) command(power context.Context, apdu []byte) []byte {
	if c.Before != nil {
		c.Before(apdu)
	}
	if c.Refuse != nil {
		if sw := c.Refuse(apdu); sw != 0 {
			return status(sw)
		}
	}
	response := c.carryOut(power, apdu)
	if c.After != nil && response != nil {
		c.After(apdu)
	}
	return response
}

func (c *Card) carryOut(power context.Context, apdu []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if power.Err() != nil {
		return nil
	}
	cmd, sw := parseAPDU(apdu)
	if sw != swOK {
		return status(sw)
	}
	if cmd.ins == insGetResponse {
		return c.fetch(swOK)
	}
	whole, sw := c.session.chained.add(cmd)
	if sw != swOK || whole == nil {
		return status(sw)
	}
	data, sw := c.dispatch(power, *whole)
	if power.Err() != nil {
		return nil
	}
	if err := c.keep(whole.ins); err != nil {
		data, sw = nil, swMemoryFailure
	}
	c.session.response = data
	return c.fetch(sw)
}
