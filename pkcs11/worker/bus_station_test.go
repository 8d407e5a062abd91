//go:build !windows

package worker_test

import (
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// TestShimBusOfAStation: shims of several bays that are given one bus are like one
// vendor's module: the start of any waits for the busy token of another. Tests of a
// whole station rest on that.
func TestShimBusOfAStation(t *testing.T) {
	folder := t.TempDir()
	shims := make([]pkcs11test.Shim, 2)
	tokens := make([]pkcs11test.TestToken, 2)
	for i := range shims {
		b := pkcs11test.NewBay(t)
		tokens[i] = b.InitTokens(t, 1)[0]
		shims[i] = pkcs11test.NewShim(t, b)
		shims[i].Env["SHIM_BUS"] = folder
	}
	spec := func(i int) worker.Spec {
		return worker.Spec{Trust: worker.TrustOwner, Path: shims[i].Path, Env: shims[i].Env}
	}
	first, other := start(t, spec(0)), start(t, spec(1))
	busy, free := loggedIn(t, first, tokens[0]), loggedIn(t, other, tokens[1])
	shims[0].Rules(t, "C_GenerateKeyPair "+pkcs11test.WaitFor(generation))

	wait := generating(t, shims[0], busy)
	begin := time.Now()
	if err := generate(t.Context(), free); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > generation/2 {
		t.Errorf("the other token took %s", took)
	}
	start(t, spec(1))
	if took := time.Since(begin); took < generation/2 {
		t.Errorf("a start took %s: nothing was waited for", took)
	}
	wait()
}
