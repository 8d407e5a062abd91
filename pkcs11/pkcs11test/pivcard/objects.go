package pivcard

import "bytes"

// Tags of data objects (SP 800-73-4, part 1, table 3, and Yubico's of slot F9).
const (
	objectDiscovery   = "\x7e"
	objectAttestation = "\x5f\xff\x01"
	// maxObject is how much a YubiKey 5 keeps in one object.
	maxObject = 3052
)

// private says whether an object may be read after the PIN only (SP 800-73-4, part 1,
// table 3): fingerprints, facial image, printed information, iris images. Yubico keeps
// a management key that the PIN protects in the third.
func private(tag string) bool {
	switch tag {
	case "\x5f\xc1\x03", "\x5f\xc1\x08", "\x5f\xc1\x09", "\x5f\xc1\x21":
		return true
	}
	return false
}

// getData is GET DATA (SP 800-73-4, part 2, 3.1.2): the object in its template 53.
func (c *Card) getData(data []byte) ([]byte, uint16) {
	list, err := parseTLV(data)
	if err != nil {
		return nil, swBadData
	}
	tag, ok := find(list, "\x5c")
	switch object := c.objects[string(tag)]; {
	case !ok:
		return nil, swBadData
	case string(tag) == objectDiscovery:
		return discovery(), swOK
	case private(string(tag)) && !c.session.verified:
		return nil, swNotAuthorised
	case len(object) == 0:
		return nil, swNotFound
	default:
		return tlv("\x53", object...), swOK
	}
}

// putData is PUT DATA (SP 800-73-4, part 2, 3.3.1); an empty object is a deleted one.
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
	switch {
	case !hasTag || !hasObject || len(tag) != 3:
		return swBadData
	case len(object) > maxObject:
		return swNoMemory
	case len(object) == 0:
		delete(c.objects, string(tag))
	default:
		c.objects[string(tag)] = bytes.Clone(object)
	}
	return swOK
}

// discovery is the discovery object, which has a template of its own: which application
// this is, and that it wants its own PIN (SP 800-73-4, part 1, 3.3.2). Yubico's library
// asks for it to see whether the application is still selected after another process
// has reset the card.
func discovery() []byte {
	return tlv(objectDiscovery, join(tlv("\x4f", applicationID()...), tlv("\x5f\x2f", 0x40, 0))...)
}

// wrapCertificate is how a certificate is kept in a data object (SP 800-73-4, part 1,
// table 10): the certificate, that it is not compressed, and an empty error code.
func wrapCertificate(der []byte) []byte {
	return join(tlv("\x70", der...), tlv("\x71", 0), tlv("\xfe"))
}

// unwrapCertificate is its reverse; nil if there is none.
func unwrapCertificate(object []byte) []byte {
	list, err := parseTLV(object)
	if err != nil {
		return nil
	}
	der, _ := find(list, "\x70")
	return der
}
