package cryptoki_test

import (
	"os"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

func BenchmarkFloor(b *testing.B) {
	for _, algorithm := range []string{"ec-p256", "rsa2048"} {
		b.Run(algorithm, func(b *testing.B) {
			pkcs11test.Floor(b, func(b *testing.B, bay pkcs11test.Bay) (pkcs11.Module, func()) {
				for name, value := range bay.Env {
					if err := os.Setenv(name, value); err != nil {
						b.Fatal(err)
					}
				}
				m, err := cryptoki.Open(bay.Path, "")
				if err != nil {
					b.Fatal(err)
				}
				return m, func() {
					if err := m.Close(); err != nil {
						b.Error(err)
					}
				}
			}, algorithm)
		})
	}
}
