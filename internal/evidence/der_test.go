package evidence

import (
	"bytes"
	"errors"
	"testing"
)

// What is not DER is refused before the parser of CMS sees it, which would take some of it for BER.
func TestOnlyDERIsRead(t *testing.T) {
	deep := []byte{5, 0}
	for range 2 * deepest {
		deep = append([]byte{0x30, byte(len(deep))}, deep...)
		if len(deep) > 120 {
			break
		}
	}
	for name, der := range map[string][]byte{
		"nothing":               {},
		"an indefinite length":  {0x30, 0x80, 0x05, 0x00, 0x00, 0x00},
		"one inside":            {0x30, 0x06, 0x30, 0x80, 0x05, 0x00, 0x00, 0x00},
		"a length that is long": {0x30, 0x81, 0x02, 0x05, 0x00},
		"a length of its size":  {0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"more than there is":    {0x30, 0x05, 0x05, 0x00},
		"something behind it":   {0x05, 0x00, 0x05, 0x00},
		"one in another":        deep,
	} {
		if err := checkDER(der); err == nil {
			t.Errorf("%s is taken: %x", name, der)
		}
		if _, _, err := open(der, nil); !errors.Is(err, ErrStatement) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkDER(bytes.Join([][]byte{{0x30, 0x04}, {0x05, 0x00}, {0x05, 0x00}}, nil)); err != nil {
		t.Error(err)
	}
}
