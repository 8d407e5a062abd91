package usbrig

import (
	"encoding/binary"
	"testing"
)

func entry(name string, state uint32) []byte {
	b := make([]byte, entrySize)
	copy(b, name)
	binary.NativeEndian.PutUint32(b[stateOffset:], state)
	return b
}

func TestParseStates(t *testing.T) {
	const negotiable = 0x0020 // SCARD_NEGOTIABLE, beside SCARD_PRESENT
	b := append(entry("with a card", present|negotiable), entry("", 0)...)
	got, err := parseStates(append(b, entry("empty", 0x0002)...))
	if err != nil || len(got) != 2 || !got["with a card"] || got["empty"] {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzParseStates(f *testing.F) {
	f.Add(entry("reader", present))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseStates(b)
		if err == nil && len(got) > len(b)/entrySize {
			t.Errorf("%d readers in %d bytes", len(got), len(b))
		}
	})
}
