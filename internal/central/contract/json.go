package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
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
	// Unmarshal checks the syntax of all of it, trailing data too, before it stores anything.
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, &MalformedError{Offset: max(syntax.Offset-1, 0), Detail: "not JSON: " + syntax.Error()}
		}
		return nil, &MalformedError{Detail: "not JSON"}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := value(d, "", 0)
	if errors.Is(err, io.EOF) {
		return nil, &MalformedError{Offset: d.InputOffset(), Detail: "the document ends too early"}
	}
	return v, err
}

func value(d *json.Decoder, pointer string, depth int) (any, error) {
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
			at := pointer + "/" + escapeToken(k)
			if _, twice := object[k]; twice {
				return nil, &MalformedError{Offset: d.InputOffset(), Detail: fmt.Sprintf("the key %s appears twice", at)}
			}
			if object[k], err = value(d, at, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	case json.Delim('['):
		array := []any{}
		for d.More() {
			item, err := value(d, pointer+"/"+strconv.Itoa(len(array)), depth+1)
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
