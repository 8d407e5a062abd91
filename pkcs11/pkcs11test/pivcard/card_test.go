package pivcard_test

import (
	"bytes"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
)

func newCard(t *testing.T) *pivcard.Card {
	t.Helper()
	maker, err := pivcard.NewMaker()
	if err != nil {
		t.Fatal(err)
	}
	c, err := pivcard.New(12345678, maker)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sw is the status word of a response.
func sw(response []byte) int {
	n := len(response)
	return int(response[n-2])<<8 | int(response[n-1])
}

func padded(pin string) []byte {
	return append([]byte(pin), bytes.Repeat([]byte{0xff}, 8-len(pin))...)
}

func verify(c *pivcard.Card, pin string) int {
	return sw(c.Command(append([]byte{0, 0x20, 0, 0x80, 8}, padded(pin)...)))
}

func selectPIV(c *pivcard.Card) int {
	return sw(c.Command([]byte{0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 8}))
}

func TestNothingWorksBeforeSelect(t *testing.T) {
	c := newCard(t)
	if got := verify(c, pivcard.FactoryPIN); got != 0x6985 {
		t.Errorf("VERIFY before SELECT: %04x", got)
	}
	if got := sw(c.Command([]byte{0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 5, 0x27})); got != 0x6a82 {
		t.Errorf("another application: %04x", got)
	}
	if got := selectPIV(c); got != 0x9000 {
		t.Errorf("SELECT: %04x", got)
	}
}

func TestPINIsCounted(t *testing.T) {
	c := newCard(t)
	selectPIV(c)
	for _, row := range []struct {
		pin  string
		want int
	}{
		{"999999", 0x63c2}, {"999999", 0x63c1}, {pivcard.FactoryPIN, 0x9000}, // a right one begins anew
		{"999999", 0x63c2}, {"999999", 0x63c1}, {"999999", 0x6983}, {pivcard.FactoryPIN, 0x6983},
	} {
		if got := verify(c, row.pin); got != row.want {
			t.Fatalf("VERIFY %s: %04x, wanted %04x", row.pin, got, row.want)
		}
	}
}

func TestWritingWantsTheManagementKey(t *testing.T) {
	c := newCard(t)
	selectPIV(c)
	verify(c, pivcard.FactoryPIN)
	for name, command := range map[string][]byte{
		"generate": {0, 0x47, 0, 0x9a, 5, 0xac, 3, 0x80, 1, 0x11},
		"put data": {0, 0xdb, 0x3f, 0xff, 8, 0x5c, 3, 0x5f, 0xc1, 5, 0x53, 1, 0},
		"set key":  append([]byte{0, 0xff, 0xff, 0xff, 27, 3, 0x9b, 24}, make([]byte, 24)...),
	} {
		if got := sw(c.Command(command)); got != 0x6982 {
			t.Errorf("%s without authentication: %04x", name, got)
		}
	}
	if got := sw(c.Command([]byte{0, 0xfb, 0, 0})); got != 0x6985 {
		t.Errorf("reset while PIN and PUK are good: %04x", got)
	}
}

// FuzzCommand: whatever a host sends, the card answers with a status word.
func FuzzCommand(f *testing.F) {
	f.Add([]byte{0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xff, 1})
	f.Add([]byte{0, 0x87, 3, 0x9b, 4, 0x7c, 2, 0x80, 0})
	f.Add([]byte{0x10, 0x87, 7, 0x9a, 3, 0x7c, 0x82, 1})
	f.Add([]byte{0, 0xcb})
	maker, err := pivcard.NewMaker()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, apdu []byte) {
		c, err := pivcard.New(1, maker)
		if err != nil {
			t.Fatal(err)
		}
		selectPIV(c)
		for range 2 {
			if response := c.Command(bytes.Clone(apdu)); len(response) < 2 {
				t.Fatalf("%x is answered by %x", apdu, response)
			}
		}
	})
}
