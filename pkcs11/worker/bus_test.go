//go:build !windows

package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// generation is how long a key takes in these tests, longer than any other call may.
const generation = 1500 * time.Millisecond

// busPool is a pool over two tokens that answer only one process at a time.
func busPool(t *testing.T) (*worker.Pool, pkcs11test.Shim, []pkcs11test.TestToken) {
	t.Helper()
	b := pkcs11test.NewBay(t)
	tokens := b.InitTokens(t, 2)
	shim := pkcs11test.NewShim(t, b)
	pool := worker.NewPool(worker.Spec{
		Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env,
		Deadlines: worker.Deadlines{Call: 500 * time.Millisecond, Init: 500 * time.Millisecond, KeyGeneration: 5 * time.Second},
	})
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Errorf("close pool: %v", err)
		}
	})
	return pool, shim, tokens
}

func loggedIn(t *testing.T, p *worker.Process, k pkcs11test.TestToken) pkcs11.Token {
	t.Helper()
	token, err := p.Open(t.Context(), pkcs11.Identity{Serial: k.Serial})
	if err != nil {
		t.Fatal(err)
	}
	if err := token.LoginUser(t.Context(), pkcs11.NewUserPIN(k.User)); err != nil {
		t.Fatal(err)
	}
	return token
}

func generate(ctx context.Context, token pkcs11.Token) error {
	_, err := token.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: pkcs11.Algorithms()[3], ID: pkcs11.KeyID{1}})
	return err
}

// generating has a child generate a key; what it returns waits for the end. It
// comes back once the call has begun.
func generating(t *testing.T, shim pkcs11test.Shim, token pkcs11.Token) (wait func()) {
	t.Helper()
	shim.Calls(t)
	done := make(chan error, 1)
	go func() { done <- generate(t.Context(), token) }()
	shim.AwaitCall(t, "C_GenerateKeyPair")
	return func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Errorf("the key: %v", err)
		}
	}
}

// TestBusyTokenDelaysOnlyItself: while one child generates a key, another works on
// its own token as fast as ever.
func TestBusyTokenDelaysOnlyItself(t *testing.T) {
	pool, shim, tokens := busPool(t)
	if err := pool.Warm(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	a, b := acquire(t, pool), acquire(t, pool)
	busy, other := loggedIn(t, a, tokens[0]), loggedIn(t, b, tokens[1])
	shim.Rules(t, "bus", pkcs11test.OnToken("C_GenerateKeyPair", tokens[0].Serial, pkcs11test.WaitFor(generation)))

	wait := generating(t, shim, busy)
	begin := time.Now()
	if err := generate(t.Context(), other); err != nil {
		t.Error(err)
	}
	if _, err := other.Info(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > generation/2 {
		t.Errorf("the other token took %s", took)
	}
	wait()
	release(t, pool, a)
	release(t, pool, b)
}

// TestWaitingForBusIsNotHanging: a look and a start that wait for a busy token, longer
// than a look or a start may take, are waited for.
func TestWaitingForBusIsNotHanging(t *testing.T) {
	pool, shim, tokens := busPool(t)
	if err := pool.Warm(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	a, b := acquire(t, pool), acquire(t, pool)
	busy := loggedIn(t, a, tokens[0])
	shim.Rules(t, "bus", "C_GenerateKeyPair "+pkcs11test.WaitFor(generation))

	wait := generating(t, shim, busy)
	begin := time.Now()
	started := make(chan *worker.Process, 1)
	go func() {
		defer close(started)
		if p, err := pool.Acquire(t.Context()); err != nil {
			t.Errorf("start: %v", err)
		} else {
			started <- p
		}
	}()
	slots, err := b.Slots(t.Context())
	if err != nil || len(slots) != 3 {
		t.Errorf("slots are %+v, %v", slots, err)
	}
	if took := time.Since(begin); took < generation/2 {
		t.Errorf("took %s: nothing was waited for", took)
	}
	if p, ok := <-started; ok {
		release(t, pool, p)
	}
	wait()
	if !b.Healthy() {
		t.Errorf("the child that looked: %v", b.Err())
	}
	release(t, pool, a)
	release(t, pool, b)
}

// TestHangBesideBusyToken: a module that hangs is killed all the same, once the long
// call has ended and the time of its own call has passed.
func TestHangBesideBusyToken(t *testing.T) {
	pool, shim, tokens := busPool(t)
	if err := pool.Warm(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	a, b := acquire(t, pool), acquire(t, pool)
	busy := loggedIn(t, a, tokens[0])
	shim.Rules(t, "C_GenerateKeyPair "+pkcs11test.WaitFor(generation), "C_GetSlotInfo hang")

	wait := generating(t, shim, busy)
	begin := time.Now()
	_, err := b.Slots(t.Context())
	wants(t, err, pkcs11.ErrModuleHung)
	if took := time.Since(begin); took < generation/2 || took > generation+3*time.Second {
		t.Errorf("took %s", took)
	}
	wait()
	wantsReaped(t, b)

	// With no key being generated the bound is the usual one.
	c := acquire(t, pool)
	begin = time.Now()
	_, err = c.Slots(t.Context())
	wants(t, err, pkcs11.ErrModuleHung, "500ms")
	if took := time.Since(begin); took > generation {
		t.Errorf("took %s", took)
	}
	for _, p := range []*worker.Process{a, b, c} {
		release(t, pool, p)
	}
}

// beside has a child do something with a token of its own while a neighbour makes its
// key. The child must live on.
func beside(t *testing.T, pool *worker.Pool, shim pkcs11test.Shim, busy pkcs11test.TestToken, other *worker.Process, do func() error) {
	t.Helper()
	working := loggedIn(t, acquire(t, pool), busy)
	shim.Rules(t, "bus", pkcs11test.OnToken("C_GenerateKeyPair", busy.Serial, pkcs11test.WaitFor(generation)))
	wait := generating(t, shim, working)
	err := do()
	wait()
	if err != nil || !other.Healthy() {
		t.Errorf("the neighbour of a busy token: %v (%v)", err, other.Err())
	}
}

// TestBlankTokenBesideABusyOne: a token without a session is looked for in all slots,
// whatever is asked of it, and however short its caller's patience is.
func TestBlankTokenBesideABusyOne(t *testing.T) {
	for name, call := range map[string]func(context.Context, pkcs11.Token) error{
		"information": func(ctx context.Context, k pkcs11.Token) error {
			ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond) // as a model's own bound
			defer cancel()
			_, err := k.Info(ctx)
			return err
		},
		"mechanisms": func(ctx context.Context, k pkcs11.Token) error { _, err := k.Mechanisms(ctx); return err },
		"initialise": func(ctx context.Context, k pkcs11.Token) error {
			_, err := k.Init(ctx, pkcs11.NewSOPIN("12345678"), "new")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool, shim, tokens := busPool(t)
			if err := pool.Warm(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			p := acquire(t, pool)
			token := blank(t, p)
			beside(t, pool, shim, tokens[0], p, func() error { return call(t.Context(), token) })
		})
	}
}

// blank opens the token that is not initialised.
func blank(t *testing.T, p *worker.Process) pkcs11.Token {
	t.Helper()
	slots, err := p.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if s.Token != nil && !s.Token.Initialized() {
			k, err := p.Open(t.Context(), s.Identity())
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
	}
	t.Fatal("no blank token")
	return nil
}

// TestPoolsOnOneHub: two module instances that reach the same tokens share a bus.
func TestPoolsOnOneHub(t *testing.T) {
	b := pkcs11test.NewBay(t)
	tokens := b.InitTokens(t, 2)
	shim := pkcs11test.NewShim(t, b)
	spec := worker.Spec{
		Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env, Bus: worker.NewBus(),
		Deadlines: worker.Deadlines{Call: 500 * time.Millisecond, Init: 500 * time.Millisecond, KeyGeneration: 5 * time.Second},
	}
	one, two := worker.NewPool(spec), worker.NewPool(spec)
	t.Cleanup(func() { _, _ = one.Close(), two.Close() })
	p := acquire(t, two)
	beside(t, one, shim, tokens[0], p, func() error { _, err := p.Slots(t.Context()); return err })
}
