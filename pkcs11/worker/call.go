package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// call makes one request and waits for its response. args appends the arguments,
// result takes what was returned; both may be nil.
func (p *Process) call(ctx context.Context, op operation, args func(*encoder), result func(*decoder)) error {
	return p.callOn(ctx, op, waitsForBus(op), args, result)
}

// callOn is call for who knows whether it touches the tokens of other children.
func (p *Process) callOn(ctx context.Context, op operation, touchesOthers bool, args func(*encoder), result func(*decoder)) error {
	if err := p.take(ctx, op); err != nil {
		return err
	}
	return p.exchange(ctx, op, touchesOthers, args, result)
}

// exchange is callOn for who has taken the turn, and gives it back.
func (p *Process) exchange(ctx context.Context, op operation, touchesOthers bool, args func(*encoder), result func(*decoder)) error {
	limit := p.limit.of(op)
	e := newFrame(256)
	e.uint(uint64(op))
	e.uint(uint64(limit.Milliseconds())) // how long the call may go on when nobody waits for it any more
	if args != nil {
		args(e)
	}
	if len(e.buf)-frameHeader > maxFrame {
		p.giveBack()
		return &pkcs11.Error{Op: op.String(), Kind: pkcs11.ErrGeneral, Detail: "the arguments are too long to be passed on"}
	}
	if keepsBus(op) {
		p.bus.enter(p)
	}
	wait := p.patience(ctx, limit, touchesOthers)
	// A child that takes nothing is killed, for a pipe of Windows knows no deadline; and
	// the pipe has one, for a child that is stuck in the kernel keeps it open.
	overdue := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	_ = p.in.SetWriteDeadline(time.Now().Add(limit))
	err := writeFrame(p.in, e)
	clear(e.buf) // it may hold a PIN
	late := !overdue.Stop()
	if err != nil || late {
		wait.timer.Stop()
		if late || errors.Is(err, os.ErrDeadlineExceeded) {
			return p.hung(op, fmt.Sprintf("the request was not taken within %s", limit))
		}
		_ = p.cmd.Process.Kill() // what does not take requests is of no use
		return p.ended(op.String())
	}

	left := ctx.Done()
	for {
		select {
		case message, ok := <-p.responses:
			wait.timer.Stop()
			if !ok {
				return p.ended(op.String())
			}
			p.giveBack()
			return outcome(&decoder{buf: message}, op.String(), result)
		case <-wait.timer.C:
			if wait.over() {
				return p.hung(op, "no answer within "+wait.String())
			}
		case <-left:
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				left = nil // the same bound, which a busy bus makes longer
				continue
			}
			p.markDirty(true)
			go p.finish(op, wait)
			return &leftError{op, ctx.Err()}
		}
	}
}

// leftError is the error of a call that was left under way; other errors of a
// context mean that it was never made.
type leftError struct {
	op    operation
	cause error
}

func (e *leftError) Error() string {
	return e.op.String() + ": left before it answered: " + e.cause.Error()
}

func (e *leftError) Unwrap() error { return e.cause }

// take waits for the turn to make a call.
func (p *Process) take(ctx context.Context, op operation) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	select {
	case <-p.failed:
		return p.failure(op.String())
	case <-ctx.Done():
		return fmt.Errorf("%s: waiting for another call: %w", op, ctx.Err())
	case <-p.turn:
	}
	select {
	case <-p.failed:
		p.giveBack()
		return p.failure(op.String())
	default:
		return nil
	}
}

func (p *Process) giveBack() {
	p.bus.leave(p)
	p.turn <- struct{}{}
}

// hung kills the child over a call that took too long.
func (p *Process) hung(op operation, detail string) error {
	p.fail(pkcs11.ErrModuleHung, op.String()+": "+detail)
	p.kill()
	return &pkcs11.Error{Op: op.String(), Kind: pkcs11.ErrModuleHung, Detail: detail}
}

// finish waits, in the place of a caller who left, until the child is through
// with the call or out of time.
func (p *Process) finish(op operation, wait *patience) {
	defer wait.timer.Stop()
	for {
		select {
		case _, ok := <-p.responses:
			if ok {
				p.giveBack()
			}
			return
		case <-wait.timer.C:
			if wait.over() {
				_ = p.hung(op, "no answer, and its caller had left") // the next caller is told
				return
			}
		}
	}
}

func (p *Process) spoil() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoilt = true
}

func (p *Process) isSpoilt() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spoilt
}

func (p *Process) markDirty(dirty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = dirty
}

// outcome decodes a response: an error, or what result takes, and nothing more.
func outcome(d *decoder, op string, result func(*decoder)) error {
	switch d.uint() {
	case statusOK:
		if result != nil {
			result(d)
		}
		if d.end() == nil {
			return nil
		}
	case statusError:
		fault := d.fault()
		if d.end() == nil {
			return fault
		}
	}
	return &pkcs11.Error{Op: op, Kind: pkcs11.ErrGeneral, Detail: "the module's process sent a malformed answer"}
}

// Info implements pkcs11.Module.
func (p *Process) Info(ctx context.Context) (info pkcs11.ModuleInfo, err error) {
	err = p.call(ctx, opModuleInfo, nil, func(d *decoder) { info = d.moduleInfo() })
	return info, err
}

// Slots implements pkcs11.Module.
func (p *Process) Slots(ctx context.Context) (slots []pkcs11.Slot, err error) {
	err = p.call(ctx, opSlots, nil, func(d *decoder) { slots = d.slots() })
	return slots, err
}

// Open implements pkcs11.Module.
func (p *Process) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t := &token{p: p}
	p.markDirty(true)
	err := p.call(ctx, opOpen, func(e *encoder) { e.identity(id) }, func(d *decoder) {
		t.number = d.uint()
		t.id = d.identity()
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// reset has the child close every token that was left open.
func (p *Process) reset(ctx context.Context) error {
	p.mu.Lock()
	dirty := p.dirty
	p.dirty = false
	p.mu.Unlock()
	if !dirty {
		return nil
	}
	return p.call(ctx, opReset, nil, nil)
}
