package cryptoki_test

import (
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

func TestConformance(t *testing.T) {
	pkcs11test.Conformance(t, open, pkcs11test.Options{})
}

// open loads the module into the test's own process, one at a time.
func open(t *testing.T, b pkcs11test.Bay) pkcs11.Module {
	t.Helper()
	for name, value := range b.Env {
		t.Setenv(name, value)
	}
	m, err := cryptoki.Open(b.Path, b.Reserved)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close module: %v", err)
		}
	})
	return m
}
