//go:build !race

package simulation

import (
	"fmt"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// The cards that are made up here behave as tokens do.
func TestConformance(t *testing.T) {
	p256, err := pkcs11.AlgorithmByName("ec-p256")
	if err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T, _ pkcs11test.Bay) pkcs11.Module {
		h := newHub("hub", 3)
		for i := range h.slots {
			h.insert(i, &card{serial: pkcs11.TokenSerial(fmt.Sprintf("SIM%04d", i))})
		}
		return &module{hub: h}
	}
	pkcs11test.Conformance(t, open, pkcs11test.Options{
		Algorithms: []pkcs11.Algorithm{p256}, Manufacturer: "simulation",
		NewBay: func(testing.TB) pkcs11test.Bay { return pkcs11test.Bay{} },
		Quirks: pkcs11test.Quirks{NoBlankSlot: true},
	})
}
