package pivcard

import (
	"bytes"
	"crypto/subtle"
)

// tries is how many wrong PINs or PUKs in a row block them.
const tries = 3

// Key references (SP 800-73-4, part 1, table 4).
const (
	refPIN        = 0x80
	refPUK        = 0x81
	refManagement = 0x9B
)

// secret is a PIN or PUK with its counter.
type secret struct {
	value string
	left  int
}

// padded is how long a PIN is on its way to the card: the rest is 0xFF (SP 800-73-4,
// part 2, 2.4.3).
const padded = 8

// try compares a padded PIN or PUK and counts.
func (s *secret) try(given []byte) uint16 {
	if s.left == 0 {
		return swBlocked
	}
	if subtle.ConstantTimeCompare(unpad(given), []byte(s.value)) == 1 {
		s.left = tries
		return swOK
	}
	s.left--
	return s.state()
}

// state tells how many tries are left.
func (s *secret) state() uint16 {
	if s.left == 0 {
		return swBlocked
	}
	return swTriesLeft | uint16(s.left)
}

// set takes a new value, which also unblocks.
func (s *secret) set(given []byte) uint16 {
	const shortest = 6 // SP 800-73-4, part 2, 2.4.3
	value := unpad(given)
	if len(value) < shortest {
		return swBadData
	}
	*s = secret{string(value), tries}
	return swOK
}

func unpad(b []byte) []byte { return bytes.TrimRight(b, "\xff") }

// verify is VERIFY (SP 800-73-4, part 2, 3.2.1); without data it tells how many tries
// are left, or that the PIN was given.
func (c *Card) verify(p1, ref byte, data []byte) uint16 {
	const logout = 0xff
	switch {
	case ref != refPIN:
		return swNoReference
	case p1 == logout:
		c.session.verified = false
		return swOK
	case p1 != 0:
		return swBadParameters
	case len(data) == 0 && c.session.verified:
		return swOK
	case len(data) == 0:
		return c.pin.state()
	case len(data) != padded:
		return swBadData
	}
	sw := c.pin.try(data)
	c.session.verified, c.session.fresh = sw == swOK, sw == swOK
	return sw
}

// change is CHANGE REFERENCE DATA (SP 800-73-4, part 2, 3.2.2): the old value, then
// the new one.
func (c *Card) change(ref byte, data []byte) uint16 {
	which := c.reference(ref)
	switch {
	case which == nil:
		return swNoReference
	case len(data) != 2*padded:
		return swBadData
	}
	if sw := which.try(data[:padded]); sw != swOK {
		return sw
	}
	return which.set(data[padded:])
}

// unblock is RESET RETRY COUNTER (SP 800-73-4, part 2, 3.2.3): the PUK, then a new PIN.
func (c *Card) unblock(ref byte, data []byte) uint16 {
	switch {
	case ref != refPIN:
		return swNoReference
	case len(data) != 2*padded:
		return swBadData
	}
	if sw := c.puk.try(data[:padded]); sw != swOK {
		return sw
	}
	return c.pin.set(data[padded:])
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
