package central

import (
	"encoding/asn1"
	"testing"
)

// FuzzSealed: what is stored as sealed is CMS EnvelopedData from its first byte to its
// last, and never a PIN in clear.
func FuzzSealed(f *testing.F) {
	f.Add([]byte("123456"))
	f.Add([]byte{0x30, 0x00})
	f.Add([]byte{0x30, 0x0f, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03, 0xa0, 0x02, 0x30, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(checkSealed("/sealedSoPin", der)) > 0 {
			return
		}
		var outer asn1.RawValue
		rest, err := asn1.Unmarshal(der, &outer)
		if err != nil || len(rest) > 0 || outer.Tag != asn1.TagSequence || len(outer.FullBytes) != len(der) {
			t.Errorf("%x is taken for EnvelopedData", der)
		}
	})
}
