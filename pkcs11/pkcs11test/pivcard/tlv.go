package pivcard

import (
	"bytes"
	"errors"
)

var errTLV = errors.New("malformed BER-TLV")

// element is one BER-TLV data object (ISO 7816-4, 5.2.2), its tag as its bytes.
type element struct {
	tag   string
	value []byte
}

// parseTLV reads a sequence of data objects.
func parseTLV(b []byte) ([]element, error) {
	var out []element
	for len(b) > 0 {
		n := tagLength(b)
		if n >= len(b) {
			return nil, errTLV
		}
		length, rest, err := parseLength(b[n:])
		if err != nil || length > len(rest) {
			return nil, errTLV
		}
		out = append(out, element{string(b[:n]), rest[:length]})
		b = rest[length:]
	}
	return out, nil
}

// tagLength is that of the tag that b begins with: when the low five bits of its first
// byte are set, more follow, each but the last with its highest bit set.
func tagLength(b []byte) int {
	const long, more = 0x1f, 0x80
	n := 1
	if b[0]&long != long {
		return n
	}
	for n < len(b) && b[n]&more != 0 {
		n++
	}
	return n + 1
}

func parseLength(b []byte) (int, []byte, error) {
	switch {
	case len(b) == 0:
		return 0, nil, errTLV
	case b[0] < 0x80:
		return int(b[0]), b[1:], nil
	case b[0] == 0x81 && len(b) >= 2:
		return int(b[1]), b[2:], nil
	case b[0] == 0x82 && len(b) >= 3:
		return int(b[1])<<8 | int(b[2]), b[3:], nil
	}
	return 0, nil, errTLV
}

// find is the value of a tag; it is nil and false when the tag is not there.
func find(list []element, tag string) ([]byte, bool) {
	for _, e := range list {
		if e.tag == tag {
			return e.value, true
		}
	}
	return nil, false
}

// one is the value of a tag that has one byte, or 0.
func one(list []element, tag string) byte {
	if v, ok := find(list, tag); ok && len(v) == 1 {
		return v[0]
	}
	return 0
}

// nested is the sequence within a template.
func nested(b []byte, template string) ([]element, bool) {
	outer, err := parseTLV(b)
	if err != nil {
		return nil, false
	}
	value, ok := find(outer, template)
	if !ok {
		return nil, false
	}
	inner, err := parseTLV(value)
	return inner, err == nil
}

// tlv is one data object.
func tlv(tag string, value ...byte) []byte {
	out := []byte(tag)
	switch n := len(value); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	return append(out, value...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
