package pivcard

import (
	"bytes"
	"context"
	"encoding/binary"
)

// Instructions of SP 800-73-4, part 2, chapter 3, and from 0xF7 on Yubico's own
// (Yubico, "PIV extensions").
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

// version is the firmware that the card claims: with attestation and metadata, and
// with 3DES for its management key.
func version() []byte { return []byte{5, 4, 3} }

// applicationID is what names the application (SP 800-73-4, part 1, 2.2); what follows
// the first five bytes is its version.
func applicationID() []byte {
	return []byte{0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0}
}

// dispatch carries out a whole command.
func (c *Card) dispatch(power context.Context, cmd apdu) ([]byte, uint16) {
	if cmd.ins == insSelect {
		return c.selectApplication(cmd.data)
	}
	if !c.session.selected {
		return nil, swConditions
	}
	switch cmd.ins {
	case insVerify:
		return nil, c.verify(cmd.p1, cmd.p2, cmd.data)
	case insChange:
		return nil, c.change(cmd.p2, cmd.data)
	case insUnblock:
		return nil, c.unblock(cmd.p2, cmd.data)
	case insAuthenticate:
		return c.authenticate(cmd.p1, cmd.p2, cmd.data)
	case insGenerate:
		return c.generate(power, cmd.p2, cmd.data)
	case insGetData:
		return c.getData(cmd.data)
	case insPutData:
		return nil, c.putData(cmd.data)
	case insMetadata:
		return c.metadata(cmd.p2)
	case insSerial:
		return binary.BigEndian.AppendUint32(nil, c.Serial), swOK
	case insAttest:
		return c.attestation(cmd.p1)
	case insReset:
		return nil, c.resetWhenBlocked()
	case insVersion:
		return version(), swOK
	case insSetKey:
		return nil, c.setKey(cmd.data)
	}
	return nil, swNoInstruction
}

// writes says whether a command can change what the card keeps.
func writes(ins byte) bool {
	switch ins {
	case insVerify, insChange, insUnblock, insGenerate, insPutData, insReset, insSetKey:
		return true
	}
	return false
}

// selectApplication knows the PIV application alone, by any prefix of its name that is
// long enough to mean it. Logins end: the standard would have them stay when the
// application was selected already (SP 800-73-4, part 2, 3.1.1), but a host must not
// count on that.
func (c *Card) selectApplication(name []byte) ([]byte, uint16) {
	const shortest = 5
	if len(name) < shortest || !bytes.HasPrefix(applicationID(), name) {
		return nil, swNotFound
	}
	c.session = session{selected: true}
	// The application property template (SP 800-73-4, part 2, table 3): the name without
	// the issuer's identifier, and that identifier.
	authority := tlv("\x79", tlv("\x4f", applicationID()[:shortest]...)...)
	return tlv("\x61", append(tlv("\x4f", applicationID()[shortest:]...), authority...)...), swOK
}

// resetWhenBlocked is Yubico's RESET of the application, which wants PIN and PUK blocked.
func (c *Card) resetWhenBlocked() uint16 {
	if c.pin.left > 0 || c.puk.left > 0 {
		return swConditions
	}
	c.reset()
	return swOK
}
