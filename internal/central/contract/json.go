package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/usbkeyd/usbkeyd/api"
)

// maxDepth is deeper than any body of the contract.
const maxDepth = 32

// MalformedError says that a body is not one JSON document, and where it stops being one.
type MalformedError struct {
	// Offset counts bytes from 0.
	Offset int64
	Detail string
}

// Error implements error.
func (e *MalformedError) Error() string {
	return fmt.Sprintf("%s at byte %d", e.Detail, e.Offset)
}

// decode reads one JSON document and nothing after it. Unlike encoding/json alone
// it refuses a key that appears twice, where two readers could see two values
// (RFC 8259, 4). Numbers stay json.Number.
func decode(data []byte) (any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &MalformedError{Detail: "the body is empty"}
	}
	if !utf8.Valid(data) {
		return nil, &MalformedError{Offset: int64(invalidAt(data)), Detail: "not UTF-8 (RFC 8259, 8.1)"}
	}
	if !json.Valid(data) {
		// Unmarshal checks all of it too, and says where.
		var whole json.RawMessage
		var syntax *json.SyntaxError
		if errors.As(json.Unmarshal(data, &whole), &syntax) {
			return nil, &MalformedError{Offset: max(syntax.Offset-1, 0), Detail: "not JSON: " + syntax.Error()}
		}
		return nil, &MalformedError{Detail: "not JSON"}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := value(d, nil, 0)
	if errors.Is(err, io.EOF) {
		return nil, &MalformedError{Offset: d.InputOffset(), Detail: "the document ends too early"}
	}
	return v, err
}

// place is where a value stands in the document; nil is the document itself. It is
// spelt out only for an error.
type place struct {
	in    *place
	token string
}

// String is a JSON Pointer.
func (p *place) String() string {
	if p == nil {
		return ""
	}
	return p.in.String() + "/" + api.PointerToken(p.token)
}

func value(d *json.Decoder, at *place, depth int) (any, error) {
	if depth > maxDepth {
		return nil, &MalformedError{Offset: d.InputOffset(), Detail: "nested too deeply"}
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := make(map[string]any)
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			k, _ := key.(string)
			here := &place{at, k}
			if _, twice := object[k]; twice {
				return nil, &MalformedError{Offset: d.InputOffset(), Detail: fmt.Sprintf("the key %s appears twice", here)}
			}
			if object[k], err = value(d, here, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	case json.Delim('['):
		array := []any{}
		for d.More() {
			item, err := value(d, &place{at, strconv.Itoa(len(array))}, depth+1)
			if err != nil {
				return nil, err
			}
			array = append(array, item)
		}
		_, err := d.Token()
		return array, err
	}
	return token, nil
}

func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}
