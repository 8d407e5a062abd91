package pivcard

import (
	"bytes"
	"encoding/binary"
)

// Status words (ISO 7816-4, 5.1.3; SP 800-73-4, part 2, table 6).
const (
	swOK             = 0x9000
	swMore           = 0x6100 // with the number of bytes that wait
	swTriesLeft      = 0x63C0 // with their number
	swMemoryFailure  = 0x6581
	swLength         = 0x6700
	swChainNotEnded  = 0x6883
	swNotAuthorised  = 0x6982
	swBlocked        = 0x6983
	swConditions     = 0x6985
	swBadData        = 0x6A80
	swNotFound       = 0x6A82
	swNoMemory       = 0x6A84
	swBadParameters  = 0x6A86
	swNoReference    = 0x6A88
	swNoInstruction  = 0x6D00
	swNoClass        = 0x6E00
	maxShortResponse = 256
)

func status(sw uint16) []byte { return []byte{byte(sw >> 8), byte(sw)} }

// apdu is a command (ISO 7816-4, 5.1).
type apdu struct {
	more        bool // a link of a chain that is not the last
	ins, p1, p2 byte
	data        []byte
}

func parseAPDU(b []byte) (apdu, uint16) {
	const chaining = 0x10 // bit of CLA (ISO 7816-4, 5.1.1)
	switch {
	case len(b) < 4:
		return apdu{}, swLength
	case b[0]&^chaining != 0:
		return apdu{}, swNoClass
	}
	data, ok := commandData(b[4:])
	if !ok {
		return apdu{}, swLength
	}
	return apdu{b[0]&chaining != 0, b[1], b[2], b[3], data}, swOK
}

// commandData takes Lc and Le off, short or extended (ISO 7816-4, 5.1).
func commandData(b []byte) ([]byte, bool) {
	switch {
	case len(b) <= 1:
		return nil, true // at most Le
	case b[0] == 0 && len(b) == 3:
		return nil, true // an extended Le
	case b[0] == 0 && len(b) > 3:
		return within(b[3:], int(binary.BigEndian.Uint16(b[1:])))
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

// chain gathers a command that comes in several (ISO 7816-4, 5.1.1.1).
type chain struct {
	ins, p1, p2 byte
	data        []byte
	begun       bool
}

// add takes a command and returns the whole one when it is its last link.
func (c *chain) add(cmd apdu) (*apdu, uint16) {
	const longest = 4096 // more than any object of the card
	if c.begun && (c.ins != cmd.ins || c.p1 != cmd.p1 || c.p2 != cmd.p2) {
		*c = chain{}
		return nil, swChainNotEnded
	}
	if len(c.data)+len(cmd.data) > longest {
		*c = chain{}
		return nil, swLength
	}
	data := append(c.data, cmd.data...)
	if cmd.more {
		*c = chain{cmd.ins, cmd.p1, cmd.p2, bytes.Clone(data), true}
		return nil, swOK
	}
	*c = chain{}
	cmd.data = data
	return &cmd, swOK
}

// fetch gives at most one short response; what is left waits for GET RESPONSE.
func (c *Card) fetch(sw uint16) []byte {
	data := c.session.response
	c.session.response = nil
	if len(data) > maxShortResponse {
		c.session.response = data[maxShortResponse:]
		sw = swMore | uint16(min(len(c.session.response), 0xff))
		data = data[:maxShortResponse]
	}
	return append(bytes.Clone(data), status(sw)...)
}
