//go:build !windows

package worker_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// TestMain makes this test binary its own children, as main does.
func TestMain(m *testing.M) {
	actAsAnotherBuild()
	worker.ServeIfChild(openOrProbe)
	actAsParent()
	os.Exit(m.Run())
}

// openOrProbe is the opener of the tests' children: a module's, or for the path
// of the probe one that tells what a child can see.
func openOrProbe(path, reserved string) (pkcs11.Module, error) {
	if path == probePath {
		return probe{}, nil
	}
	collect() // a module that is loaded by its descriptor must find that open
	return cryptoki.Open(path, reserved)
}

// collect has the garbage collector close what nothing refers to any more. Files are
// closed by a goroutine of the runtime, a moment later.
func collect() {
	runtime.GC()
	time.Sleep(5 * time.Millisecond)
}

// start starts a child that the test closes.
func start(t testing.TB, spec worker.Spec) *worker.Process {
	t.Helper()
	p, err := worker.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close process: %v", err)
		}
	})
	return p
}
