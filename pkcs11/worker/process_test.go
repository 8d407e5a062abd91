//go:build !windows

package worker_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// wants checks the kind of an error and, when given, words that it must hold.
func wants(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want kind %q", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error is %q, want it to say %q", err, w)
		}
	}
}

// wantsReaped checks that a child is neither running nor a zombie of ours.
func wantsReaped(t *testing.T, p *worker.Process) {
	t.Helper()
	if _, err := syscall.Wait4(p.PID(), nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("child %d is not reaped: %v", p.PID(), err)
	}
}

func shimmed(t *testing.T, d worker.Deadlines) (*worker.Process, pkcs11test.Shim) {
	t.Helper()
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	return start(t, worker.Spec{Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env, Deadlines: d}), shim
}

func TestUnusableModules(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	empty := filepath.Join(dir, "empty.so")
	for path, content := range map[string]string{text: "just words\n", empty: ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ path, word string }{
		"missing":   {filepath.Join(dir, "missing.so"), "no such file"},
		"relative":  {"libsofthsm2.so", "absolute"},
		"directory": {dir, "not a regular file"},
		"text":      {text, "text file"},
		"empty":     {empty, "empty"},
		"other":     {otherLibrary(t), "C_GetFunctionList"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := worker.Start(t.Context(), worker.Spec{Trust: worker.TrustOwner, Path: c.path})
			wants(t, err, pkcs11.ErrModuleUnusable, c.word)
		})
	}
}

// otherLibrary is a shared library that is no PKCS#11 module.
func otherLibrary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.so")
	cc := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-x", "c", "-o", path, "-")
	cc.Stdin = strings.NewReader("int answer(void) { return 42; }\n")
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return path
}

func TestCrash(t *testing.T) {
	for _, c := range []struct{ rule, says string }{
		{"C_GetInfo segv", "signal 11 (segmentation fault)"},
		{"C_GetInfo abort", "signal 6 (aborted)"},
		{"C_GetInfo exit 7", "exit status 7"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p, shim := shimmed(t, worker.Deadlines{})
			shim.Rules(t, c.rule)
			_, err := p.Info(t.Context())
			wants(t, err, pkcs11.ErrModuleCrashed, c.says, "C_GetInfo")
			wantsReaped(t, p)
			_, err = p.Slots(t.Context())
			wants(t, err, pkcs11.ErrModuleCrashed, c.says)
			if p.Healthy() || !errors.Is(p.Err(), pkcs11.ErrModuleCrashed) {
				t.Errorf("healthy %t, error %v", p.Healthy(), p.Err())
			}
		})
	}
}

// SoftHSM aborts at C_Initialize over two token directories of one serial: a
// crash of a real module while its child starts.
func TestCrashAtStart(t *testing.T) {
	b := pkcs11test.NewBay(t)
	b.InitToken(t, "twin", "12345678", "123456")
	tokens := filepath.Join(b.Dir, "tokens")
	entries, err := os.ReadDir(tokens)
	if err != nil || len(entries) != 1 {
		t.Fatalf("token directories are %v, %v", entries, err)
	}
	twin := filepath.Join(tokens, "11111111-2222-3333-4444-555555555555")
	if err := os.CopyFS(twin, os.DirFS(filepath.Join(tokens, entries[0].Name()))); err != nil {
		t.Fatal(err)
	}
	_, err = worker.Start(t.Context(), worker.Spec{Path: b.Path, Env: b.Env})
	wants(t, err, pkcs11.ErrModuleCrashed, "signal 6 (aborted)")
}

func TestHang(t *testing.T) {
	short := worker.Deadlines{Call: 200 * time.Millisecond}
	p, shim := shimmed(t, short)
	shim.Rules(t, "C_GetInfo hang")
	begin := time.Now()
	_, err := p.Info(t.Context())
	wants(t, err, pkcs11.ErrModuleHung, "200ms")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	wantsReaped(t, p)
	begin = time.Now()
	_, err = p.Slots(t.Context())
	wants(t, err, pkcs11.ErrModuleHung)
	if took := time.Since(begin); took >= short.Call {
		t.Errorf("a later call waited for the module once more: it took %s", took)
	}
}

func TestHangAtStart(t *testing.T) {
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	shim.Rules(t, "C_Initialize hang")
	_, err := worker.Start(t.Context(), worker.Spec{
		Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env, Deadlines: worker.Deadlines{Init: 200 * time.Millisecond},
	})
	wants(t, err, pkcs11.ErrModuleHung)
}

func TestCallersDeadline(t *testing.T) {
	p, shim := shimmed(t, worker.Deadlines{})
	shim.Rules(t, "C_GetInfo hang")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := p.Info(ctx)
	wants(t, err, pkcs11.ErrModuleHung, "deadline")
	wantsReaped(t, p)
}

// A caller that leaves does not cost the child, nor the token it may be writing to.
func TestCancelledCallIsFinished(t *testing.T) {
	p, shim := shimmed(t, worker.Deadlines{})
	shim.Rules(t, "C_GetInfo wait 300")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := p.Info(ctx)
	wants(t, err, context.Canceled)

	if _, err := p.Slots(t.Context()); err != nil { // waits for its turn
		t.Error(err)
	}
	info, err := p.Info(t.Context())
	if err != nil || info.Manufacturer != "SoftHSM" {
		t.Errorf("info is %+v, %v", info, err)
	}
}

func TestCancelledInitLeavesNoIdentity(t *testing.T) {
	p, shim := shimmed(t, worker.Deadlines{})
	slots, err := p.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := p.Open(t.Context(), slots[0].Identity())
	if err != nil {
		t.Fatal(err)
	}
	shim.Rules(t, "C_InitToken wait 300")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = token.Init(ctx, pkcs11.NewSOPIN("12345678"), "label")
	wants(t, err, context.Canceled)
	wants(t, token.LoginSO(t.Context(), pkcs11.NewSOPIN("12345678")), pkcs11.ErrTokenReplaced)

	// It was let finish: the token is there.
	slots, err = p.Slots(t.Context())
	if err != nil || len(slots) != 2 {
		t.Errorf("slots are %+v, %v", slots, err)
	}
	if err := token.Close(); err != nil {
		t.Error(err)
	}
}

func TestModuleThatPrints(t *testing.T) {
	p, shim := shimmed(t, worker.Deadlines{})
	shim.Rules(t, "C_GetInfo print noise of a vendor")
	for range 3 {
		if _, err := p.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneRequestAtATime(t *testing.T) {
	p, _ := shimmed(t, worker.Deadlines{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if slots, err := p.Slots(t.Context()); err != nil || len(slots) != 1 {
					t.Errorf("slots are %+v, %v", slots, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestTooLongArguments(t *testing.T) {
	b := pkcs11test.NewBay(t)
	p := start(t, worker.Spec{Path: b.Path, Env: b.Env})
	_, err := p.Open(t.Context(), pkcs11.Identity{Serial: pkcs11.TokenSerial(strings.Repeat("x", 2<<20))})
	wants(t, err, pkcs11.ErrGeneral, "too long")
	if !p.Healthy() {
		t.Errorf("unhealthy over it: %v", p.Err())
	}
}

func TestClose(t *testing.T) {
	p, shim := shimmed(t, worker.Deadlines{})
	shim.Calls(t)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if calls := shim.Calls(t); len(calls) != 1 || calls[0] != "C_Finalize" {
		t.Errorf("calls are %v", calls)
	}
	wantsReaped(t, p)
	wants(t, p.Err(), pkcs11.ErrClosed)
	_, err := p.Slots(t.Context())
	wants(t, err, pkcs11.ErrClosed)
}

func TestCloseKillsWhatDoesNotEnd(t *testing.T) {
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	p, err := worker.Start(t.Context(), worker.Spec{
		Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env, Deadlines: worker.Deadlines{Call: 200 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	shim.Rules(t, "C_Finalize hang")
	wants(t, p.Close(), pkcs11.ErrModuleHung)
	wantsReaped(t, p)
}

func TestStartCancelled(t *testing.T) {
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	shim.Rules(t, "C_Initialize hang")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := worker.Start(ctx, worker.Spec{Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env})
	wants(t, err, context.Canceled)
}

// TestTokenOfAnotherProcess: a token that another process initialised is found,
// though the module has to be initialised once more for it.
func TestTokenOfAnotherProcess(t *testing.T) {
	b := pkcs11test.NewBay(t)
	before := start(t, worker.Spec{Path: b.Path, Env: b.Env})
	if _, err := before.Slots(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.InitToken(t, "sample", "12345678", "123456")
	after := start(t, worker.Spec{Path: b.Path, Env: b.Env})
	slots, err := after.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if s.Token == nil || !s.Token.Initialized() {
			continue
		}
		token, err := before.Open(t.Context(), s.Identity())
		if err != nil {
			t.Fatalf("in the process that was there before: %v", err)
		}
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err = before.Open(t.Context(), pkcs11.Identity{Serial: "nowhere"})
	wants(t, err, pkcs11.ErrNotFound)
	if !before.Healthy() {
		t.Error("the process did not outlive a token that is not there")
	}
}
