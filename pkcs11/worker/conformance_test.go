//go:build !windows

package worker_test

import (
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

func TestConformance(t *testing.T) {
	pkcs11test.Conformance(t, open, pkcs11test.Options{})
}

func open(t *testing.T, b pkcs11test.Bay) pkcs11.Module {
	t.Helper()
	return start(t, worker.Spec{Trust: worker.TrustOwner, Path: b.Path, Env: b.Env, Reserved: b.Reserved})
}
