//go:build !windows

package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

func newPool(t *testing.T, b pkcs11test.Bay) *worker.Pool {
	t.Helper()
	pool := worker.NewPool(worker.Spec{Trust: worker.TrustOwner, Path: b.Path, Env: b.Env})
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Errorf("close pool: %v", err)
		}
	})
	return pool
}

func acquire(t *testing.T, pool *worker.Pool) *worker.Process {
	t.Helper()
	p, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func release(t *testing.T, pool *worker.Pool, p *worker.Process) {
	t.Helper()
	if err := pool.Release(p); err != nil {
		t.Error(err)
	}
}

func TestPoolKeepsChildrenWarm(t *testing.T) {
	pool := newPool(t, pkcs11test.NewBay(t))
	first := acquire(t, pool)
	second := acquire(t, pool)
	if first.PID() == second.PID() {
		t.Fatal("one child is given to two")
	}
	release(t, pool, second)
	release(t, pool, first)
	again := acquire(t, pool)
	if again != first {
		t.Error("the child used last is not the next one given")
	}
	release(t, pool, again)
}

func TestPoolReapsTheUnhealthy(t *testing.T) {
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	pool := newPool(t, shim.Bay)
	crash := func(p *worker.Process) {
		shim.Rules(t, "C_GetInfo segv")
		_, err := p.Info(t.Context())
		wants(t, err, pkcs11.ErrModuleCrashed)
		shim.Rules(t)
	}

	onLoan := acquire(t, pool)
	crash(onLoan)
	release(t, pool, onLoan)
	wantsReaped(t, onLoan)

	idle := acquire(t, pool)
	release(t, pool, idle)
	crash(idle) // behind the pool's back, as a module does that dies while idle

	next := acquire(t, pool)
	if next == onLoan || next == idle || !next.Healthy() {
		t.Errorf("child %d is given out, healthy %t", next.PID(), next.Healthy())
	}
	wantsReaped(t, idle)
	release(t, pool, next)
}

// A child with a session that could not be closed is not given to the next user, in
// whose way the session would be.
func TestPoolEndsAChildWithASessionLeft(t *testing.T) {
	b := pkcs11test.NewBay(t)
	b.InitToken(t, "label", "12345678", "123456")
	shim := pkcs11test.NewShim(t, b)
	pool := newPool(t, shim.Bay)
	p := acquire(t, pool)
	slots, err := p.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := p.Open(t.Context(), slots[0].Identity())
	if err != nil {
		t.Fatal(err)
	}
	shim.Rules(t, "C_CloseSession return 0x30")
	wants(t, token.Close(), pkcs11.ErrDevice)
	shim.Rules(t)
	release(t, pool, p)
	wantsReaped(t, p)
	next := acquire(t, pool)
	if next == p {
		t.Error("the same child is given again")
	}
	release(t, pool, next)
}

// A child that comes back with a token open must not keep its login.
func TestPoolClosesTokensLeftOpen(t *testing.T) {
	b := pkcs11test.NewBay(t)
	b.InitToken(t, "label", "12345678", "123456")
	pool := newPool(t, b)
	p := acquire(t, pool)
	slots, err := p.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := p.Open(t.Context(), slots[0].Identity())
	if err != nil {
		t.Fatal(err)
	}
	if err := token.LoginUser(t.Context(), pkcs11.NewUserPIN("123456")); err != nil {
		t.Fatal(err)
	}
	release(t, pool, p)

	again := acquire(t, pool)
	if again != p {
		t.Fatal("another child is given")
	}
	wants(t, token.LoginUser(t.Context(), pkcs11.NewUserPIN("123456")), pkcs11.ErrClosed)
	fresh, err := again.Open(t.Context(), token.Identity())
	if err != nil {
		t.Fatal(err)
	}
	_, err = fresh.GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{Algorithm: pkcs11.Algorithms()[0]})
	wants(t, err, pkcs11.ErrNotLoggedIn)
	release(t, pool, again)
}

func TestPoolClosed(t *testing.T) {
	pool := worker.NewPool(worker.Spec{Trust: worker.TrustUnchecked, Path: probePath})
	if err := pool.Warm(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	onLoan := acquire(t, pool)
	idle := acquire(t, pool)
	release(t, pool, idle)
	if err := pool.Close(); err != nil {
		t.Fatal(err)
	}
	wantsReaped(t, idle)
	_, err := pool.Acquire(t.Context())
	wants(t, err, pkcs11.ErrClosed)
	if err := pool.Release(onLoan); err != nil {
		t.Fatal(err)
	}
	wantsReaped(t, onLoan)
}

// TestPoolOfOne: whoever comes second waits until the only child comes back, and
// gets that one.
func TestPoolOfOne(t *testing.T) {
	b := pkcs11test.NewBay(t)
	pool := worker.NewPool(worker.Spec{Path: b.Path, Env: b.Env, MaxProcesses: 1})
	defer func() { _ = pool.Close() }()
	first, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := pool.Acquire(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second child beside the first: %v", err)
	}
	second := make(chan *worker.Process, 1)
	go func() {
		p, err := pool.Acquire(t.Context())
		if err != nil {
			t.Error(err)
		}
		second <- p
	}()
	if err := pool.Release(first); err != nil {
		t.Fatal(err)
	}
	if p := <-second; p != first {
		t.Error("another child came")
	} else if err := pool.Release(p); err != nil {
		t.Error(err)
	}
}

// TestPoolRefreshes: an idle child that is too old makes way for a new one, which sees
// what a module looks for only when it is loaded; not while another is at work.
func TestPoolRefreshes(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	pool := worker.NewPool(worker.Spec{Path: bay.Path, Env: bay.Env, Refresh: 50 * time.Millisecond})
	t.Cleanup(func() { _ = pool.Close() })
	first, second := acquire(t, pool), acquire(t, pool)
	release(t, pool, first)
	time.Sleep(60 * time.Millisecond)
	again := acquire(t, pool)
	if again.PID() != first.PID() {
		t.Error("a child was refreshed while another was at work")
	}
	release(t, pool, again)
	release(t, pool, second)
	fresh := acquire(t, pool)
	if fresh.PID() == first.PID() || fresh.PID() == second.PID() {
		t.Error("an old child was given out")
	}
	wantsReaped(t, first)
	wantsReaped(t, second)
	release(t, pool, fresh)
}
