package csr

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
)

// maxDepth is far above what a request nests and far below what hurts.
const maxDepth = 24

// checkDER tells whether data is exactly one element and canonical throughout
// (X.690, 10 and 11): definite minimal lengths, minimal tags, no constructed strings,
// minimal integers, booleans of 00 or FF, sets in order. encoding/asn1 alone
// lets some of that pass, and two encodings of one request would be two requests
// to whoever compares bytes.
func checkDER(data []byte) error {
	rest, err := checkElement(data, 0)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes after the end", len(rest))
	}
	return nil
}

func checkElement(data []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(data, &v) // refuses indefinite and non-minimal lengths and tags
	if err != nil {
		return nil, err
	}
	if v.Class == asn1.ClassUniversal {
		if err := checkUniversal(v); err != nil {
			return nil, err
		}
	}
	if !v.IsCompound {
		return rest, nil
	}
	ordered := v.Class == asn1.ClassUniversal && v.Tag == asn1.TagSet
	var last []byte
	for inner := v.Bytes; len(inner) > 0; {
		next, err := checkElement(inner, depth+1)
		if err != nil {
			return nil, err
		}
		element := inner[:len(inner)-len(next)]
		if ordered && bytes.Compare(last, element) > 0 {
			return nil, errors.New("a SET is not in DER order")
		}
		last, inner = element, next
	}
	return rest, nil
}

func checkUniversal(v asn1.RawValue) error {
	if constructed := v.Tag == asn1.TagSequence || v.Tag == asn1.TagSet; constructed != v.IsCompound {
		return fmt.Errorf("universal tag %d in the wrong form", v.Tag)
	}
	b := v.Bytes
	switch v.Tag {
	case asn1.TagBoolean:
		if len(b) != 1 || b[0] != 0 && b[0] != 0xff {
			return errors.New("a BOOLEAN is neither 00 nor FF")
		}
	case asn1.TagInteger, asn1.TagEnum:
		if len(b) == 0 || len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
			return errors.New("an INTEGER is not minimal")
		}
	case asn1.TagNull:
		if len(b) != 0 {
			return errors.New("a NULL has content")
		}
	}
	return nil
}
