package worker

import (
	"encoding/binary"
	"errors"
)

// encoder appends values to a message: unsigned integers as varints, byte
// strings with their length before them.
type encoder struct{ buf []byte }

func (e *encoder) uint(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }

func (e *encoder) int(v int) { e.buf = binary.AppendVarint(e.buf, int64(v)) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) bytes(v []byte) {
	e.uint(uint64(len(v)))
	e.buf = append(e.buf, v...)
}

func (e *encoder) string(v string) {
	e.uint(uint64(len(v)))
	e.buf = append(e.buf, v...)
}

func (e *encoder) strings(v []string) {
	e.uint(uint64(len(v)))
	for _, s := range v {
		e.string(s)
	}
}

var errMalformed = errors.New("malformed message")

// decoder takes values out of a message in the order they were appended. After
// the first mistake it gives zero values; end tells.
type decoder struct {
	buf []byte
	bad bool
}

func (d *decoder) fail() {
	d.bad = true
	d.buf = nil
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) int() int {
	v, n := binary.Varint(d.buf)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.buf = d.buf[n:]
	return int(v)
}

func (d *decoder) bool() bool {
	switch d.uint() {
	case 0:
		return false
	case 1:
		return !d.bad
	default:
		d.fail()
		return false
	}
}

// take is a view into the message.
func (d *decoder) take() []byte {
	n := d.uint()
	if n > uint64(len(d.buf)) {
		d.fail()
		return nil
	}
	v := d.buf[:n]
	d.buf = d.buf[n:]
	return v
}

// bytes is a copy, so that the message can be wiped; nil when empty.
func (d *decoder) bytes() []byte { return append([]byte(nil), d.take()...) }

func (d *decoder) string() string { return string(d.take()) }

// count is the number of elements that follow, each of at least one byte.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.buf)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) strings() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	v := make([]string, 0, n)
	for range n {
		v = append(v, d.string())
	}
	return v
}

// end is an error unless the whole message was taken, and nothing but it.
func (d *decoder) end() error {
	if d.bad || len(d.buf) > 0 {
		return errMalformed
	}
	return nil
}
