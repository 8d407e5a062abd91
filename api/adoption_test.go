package api_test

import (
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
)

// The statement as other people's servers and stations build it from the document.
func TestAdoptionStatement(t *testing.T) {
	got := string(api.Adoption{
		Station: "bay-1", SessionID: "7b0d7a52-5d3c-4f27-9d4e-0f4f3a1f6c11", UnitID: "ORD-001", Generation: 2, Epoch: 7,
		TokenSerial: "token 1", PublicKey: []byte("key"),
	}.Statement())
	const want = "usbkeyd adoption 1\nbay-1\n7b0d7a52-5d3c-4f27-9d4e-0f4f3a1f6c11\nORD-001\n2\n7\ntoken 1\n" +
		"2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
