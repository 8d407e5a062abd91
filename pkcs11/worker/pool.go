package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Pool keeps the children of one module instance warm: starting one costs some
// milliseconds and C_Initialize, which real modules spend on every token.
type Pool struct {
	spec Spec

	// alone is done once, before the first child: children of an earlier daemon may
	// still be bringing a call to its end.
	alone sync.Mutex
	first bool

	bus *Bus

	room chan struct{} // a place for every child on loan; nil for no limit

	mu     sync.Mutex
	idle   []*Process
	loans  int // children out, or being started for somebody
	closed bool
}

// NewPool makes an empty pool; children are started as they are asked for.
func NewPool(spec Spec) *Pool {
	p := &Pool{spec: spec, first: true, bus: cmp.Or(spec.Bus, NewBus())}
	if spec.MaxProcesses > 0 {
		p.room = make(chan struct{}, spec.MaxProcesses)
	}
	return p
}

// Acquire gives an idle child, the one used last, or starts one. It fails as
// Start does, and with ErrClosed. The caller gives it back with Release.
//
// With Spec.MaxProcesses as many as that on loan, it waits for one to come back.
func (p *Pool) Acquire(ctx context.Context) (*Process, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	stale := p.lend()
	for _, child := range stale {
		_ = child.Close() // it was idle
	}
	child, err := p.acquire(ctx)
	if err != nil {
		p.takeBack()
		p.leave()
	}
	return child, err
}

// lend counts one more child on loan, and takes out the idle ones that are too old
// when it is the only one.
func (p *Pool) lend() (stale []*Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loans++
	if p.loans > 1 || p.spec.Refresh <= 0 {
		return nil
	}
	keep := p.idle[:0]
	for _, child := range p.idle {
		if time.Since(child.born) > p.spec.Refresh {
			stale = append(stale, child)
		} else {
			keep = append(keep, child)
		}
	}
	p.idle = keep
	return stale
}

func (p *Pool) takeBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loans--
}

// enter takes a place among those on loan; leave gives it back.
func (p *Pool) enter(ctx context.Context) error {
	if p.room == nil {
		return nil
	}
	select {
	case p.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("acquire module process: %w", ctx.Err())
	}
}

func (p *Pool) leave() {
	if p.room != nil {
		<-p.room
	}
}

func (p *Pool) acquire(ctx context.Context) (*Process, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, &pkcs11.Error{Op: "acquire module process", Kind: pkcs11.ErrClosed}
		}
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			if err := p.awaitOrphans(ctx); err != nil {
				return nil, err
			}
			return startOn(ctx, p.spec, p.bus)
		}
		child := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if child.Healthy() {
			return child, nil
		}
		_ = child.Close() // it has ended already
	}
}

// awaitOrphans waits until no child of an earlier daemon lives, at most as long as
// its longest call may take.
func (p *Pool) awaitOrphans(ctx context.Context) error {
	p.alone.Lock()
	defer p.alone.Unlock()
	if !p.first || p.spec.Lock == "" {
		return nil
	}
	limit := p.spec.Deadlines.orDefaults()
	ctx, cancel := context.WithTimeout(ctx, max(limit.KeyGeneration, limit.Init, limit.Call)+reapGrace)
	defer cancel()
	lock, err := filelock.WaitExclusive(ctx, p.spec.Lock)
	if err != nil {
		return &pkcs11.Error{Op: opStart, Kind: pkcs11.ErrModuleHung, Detail: "a child of an earlier run still holds the module: " + err.Error()}
	}
	p.first = false
	return lock.Close()
}

// Release takes a child back. Tokens still open in it are closed. A healthy
// child stays warm for the next Acquire; another, one in which a token could not be
// closed, one still busy a few seconds from now with a call that its caller left, or
// one that comes back after Close, is ended and reaped.
func (p *Pool) Release(child *Process) error {
	defer p.leave()
	defer p.takeBack()
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	err := child.reset(ctx)
	p.mu.Lock()
	keep := !p.closed && err == nil && child.Healthy() && !child.isSpoilt()
	if keep {
		p.idle = append(p.idle, child)
	}
	p.mu.Unlock()
	if keep {
		return nil
	}
	if !child.Healthy() {
		err = nil // whoever made the failing call was told
	}
	return errors.Join(err, child.Close())
}

// Warm makes sure that n children are idle and have looked at all tokens once, so that a
// wave of them does not wait for it: some modules disturb what other processes are doing
// with a token when they see it for the first time (ykcs11). It fails as Start does.
func (p *Pool) Warm(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		enough := len(p.idle) >= n || p.closed
		p.mu.Unlock()
		if enough {
			return nil
		}
		if err := p.enter(ctx); err != nil {
			return err
		}
		p.mu.Lock()
		p.loans++
		p.mu.Unlock()
		child, err := startOn(ctx, p.spec, p.bus)
		if err != nil {
			p.takeBack()
			p.leave()
			return fmt.Errorf("warm up: %w", err)
		}
		_, lookErr := child.Slots(ctx)
		if err := errors.Join(lookErr, p.Release(child)); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
	}
}

// Close ends and reaps the idle children; those out on loan end when released.
func (p *Pool) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var wg sync.WaitGroup
	errs := make([]error, len(idle))
	for i, child := range idle {
		wg.Go(func() { errs[i] = child.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
