//go:build !windows

package worker_test

import (
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

func BenchmarkFloor(b *testing.B) {
	for _, algorithm := range []string{"ec-p256", "rsa2048"} {
		b.Run(algorithm, func(b *testing.B) {
			pkcs11test.Floor(b, func(b *testing.B, bay pkcs11test.Bay) (pkcs11.Module, func()) {
				p, err := worker.Start(b.Context(), worker.Spec{Path: bay.Path, Env: bay.Env})
				if err != nil {
					b.Fatal(err)
				}
				return p, func() {
					if err := p.Close(); err != nil {
						b.Error(err)
					}
				}
			}, algorithm)
		})
	}
}

// BenchmarkCall is the cost of the pipe: the cheapest call there is.
func BenchmarkCall(b *testing.B) {
	bay := pkcs11test.NewBay(b)
	p := start(b, worker.Spec{Path: bay.Path, Env: bay.Env})
	for b.Loop() {
		if _, err := p.Info(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	bay := pkcs11test.NewBay(b)
	for b.Loop() {
		p, err := worker.Start(b.Context(), worker.Spec{Path: bay.Path, Env: bay.Env})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
