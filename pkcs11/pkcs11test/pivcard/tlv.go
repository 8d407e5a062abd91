package pivcard

import "errors"

var errTLV = errors.New("malformed BER-TLV")

// element is one BER-TLV data object (ISO 7816-4, 5.2.2), its tag as its bytes.
type element struct {
	tag   string
	value []byte
}

// parseTLV reads a sequence of data objects with tags of one to three bytes.
func parseTLV(b []byte) ([]element, error) {
	var out []element
	for len(b) > 0 {
		n := 1
		if b[0]&0x1f == 0x1f {
			for n < len(b) && b[n]&0x80 != 0 {
				n++
			}
			n++
		}
		if n >= len(b) {
			return nil, errTLV
		}
		tag := string(b[:n])
		length, rest, err := parseLength(b[n:])
		if err != nil || length > len(rest) {
			return nil, errTLV
		}
		out = append(out, element{tag, rest[:length]})
		b = rest[length:]
	}
	return out, nil
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
