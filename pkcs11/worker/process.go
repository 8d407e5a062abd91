package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

const (
	opStart = "start module process"

	// closeGrace bounds a call still under way, and then C_Finalize, when a process is closed.
	closeGrace = 5 * time.Second
	// reapGrace bounds the wait for a child that was killed or is about to end.
	// One stuck in the kernel is reaped when it comes out, by its own goroutine.
	reapGrace = 2 * time.Second
)

// Process is a child process that serves one module. It implements
// pkcs11.Module. Its calls, and those of its tokens, are made one after another
// whichever goroutine they come from.
//
// A call that outlives its deadline (Deadlines, or ctx's own) kills the child and
// returns ErrModuleHung, and so does every later call. When the child ends by
// itself, calls return ErrModuleCrashed with the signal or exit code. A call
// whose ctx is cancelled returns at once; the child, which may be in the middle
// of writing to a token, is let finish, and the next call waits for it.
type Process struct {
	spec  Spec
	limit Deadlines
	bus   *Bus // shared by the children of a pool
	born  time.Time
	cmd   *exec.Cmd
	in    *os.File // requests to the child
	out   *os.File // responses from it

	turn      chan struct{} // holds a value while no call is under way
	responses chan []byte   // closed when no more can come
	exited    chan struct{} // closed when the child has been reaped

	failOnce sync.Once
	failed   chan struct{} // closed when cause is set
	cause    *pkcs11.Error // why no call can be made any more

	closeOnce sync.Once
	closeErr  error

	mu     sync.Mutex
	dirty  bool // the child may hold tokens open; cleared by reset
	spoilt bool // it may hold a session that nobody can close: not for another user
}

// Start starts a child and has it initialise the module. It fails as the opener
// does (ErrModuleUnusable, the code of C_Initialize), or with ErrModuleHung or
// ErrModuleCrashed, and then leaves no child behind.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	return startOn(ctx, spec, NewBus())
}

// startOn is Start for a child that shares its tokens with others.
func startOn(ctx context.Context, spec Spec, shared *Bus) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", opStart, err)
	}
	if isChild() {
		// Else a program that never enters child mode would start itself without end.
		return nil, startError("this is a module's process already; main must call worker.ServeIfChild first")
	}
	p := &Process{
		spec: spec, limit: spec.Deadlines.orDefaults(), bus: shared, born: time.Now(),
		turn: make(chan struct{}, 1), responses: make(chan []byte, 1),
		exited: make(chan struct{}), failed: make(chan struct{}),
	}
	if err := p.launch(); err != nil {
		return nil, err
	}
	if err := p.greet(ctx); err != nil {
		p.fail(pkcs11.ErrClosed, "it was never ready") // unless it is known what has ended it
		p.kill()
		return nil, err
	}
	p.turn <- struct{}{}
	return p, nil
}

func startError(detail string) *pkcs11.Error {
	return &pkcs11.Error{Op: opStart, Kind: pkcs11.ErrGeneral, Detail: detail}
}

// launch executes the child and starts the goroutines that read from it and reap it.
func (p *Process) launch() error {
	env, err := p.spec.environment()
	if err != nil {
		return err
	}
	self, err := p.spec.Program.path()
	if err != nil {
		return startError(err.Error())
	}
	dir, err := directory()
	if err != nil {
		return startError(err.Error())
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		return startError(err.Error())
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return errors.Join(startError(err.Error()), childIn.Close(), in.Close())
	}
	p.in, p.out = in, out
	p.cmd = &exec.Cmd{
		Path: self, Args: []string{childName, p.spec.Path, p.spec.Lock, string(p.spec.Trust), p.spec.SHA256, p.spec.Reserved}, Env: env, Dir: dir,
	}
	if err = handOver(p.cmd, childIn, childOut); err == nil {
		err = p.cmd.Start()
	}
	_ = childIn.Close() // the child's ends; it has its own copies or never was
	_ = childOut.Close()
	if err != nil {
		return errors.Join(startError(err.Error()), in.Close(), out.Close())
	}
	reading := make(chan struct{})
	go p.read(reading)
	go p.reap(reading)
	return nil
}

// read passes responses on until the pipe ends. There is room for the one that
// is waited for; a second one means that the child has lost its way.
func (p *Process) read(done chan<- struct{}) {
	defer close(done)
	defer close(p.responses)
	frames := newFrameReader(p.out)
	for {
		message, err := frames.next()
		if err == nil {
			select {
			case p.responses <- message:
				continue
			default:
			}
		}
		// At the end of its pipe a child has ended or is of no use.
		_ = p.cmd.Process.Kill()
		return
	}
}

// reap waits for the child to end, whatever ends it.
func (p *Process) reap(reading <-chan struct{}) {
	_ = p.cmd.Wait() // the state tells more than the error
	// A process that the module left behind could hold the pipe open.
	_ = p.out.SetReadDeadline(time.Now().Add(reapGrace))
	<-reading
	p.fail(pkcs11.ErrModuleCrashed, ending(p.cmd.ProcessState))
	_ = p.in.Close()
	_ = p.out.Close()
	close(p.exited)
}

// greet waits for the child's first message.
func (p *Process) greet(ctx context.Context) error {
	wait := p.patience(context.WithoutCancel(ctx), p.limit.Init, true)
	defer wait.timer.Stop()
	for {
		select {
		case message, ok := <-p.responses:
			if !ok {
				return p.ended(opStart)
			}
			d := &decoder{buf: message}
			if d.string() != protocol {
				return startError("the child does not speak our protocol; main must call worker.ServeIfChild first")
			}
			if err := p.spec.Program.sameBuild(d.string()); err != nil {
				return err
			}
			return outcome(d, opStart, nil)
		case <-wait.timer.C:
			if wait.over() {
				p.fail(pkcs11.ErrModuleHung, "not initialised after "+wait.String())
				return p.failure(opStart)
			}
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", opStart, ctx.Err())
		}
	}
}

// fail makes the process unusable; the first reason stands.
func (p *Process) fail(kind pkcs11.Sentinel, detail string) {
	p.failOnce.Do(func() {
		p.bus.leave(p)
		p.cause = &pkcs11.Error{Kind: kind, Detail: detail}
		close(p.failed)
		if p.spec.Failed != nil && kind != pkcs11.ErrClosed {
			p.spec.Failed(p.cause)
		}
	})
}

// failure is the reason as the error of a call; only once failed is closed.
func (p *Process) failure(op string) error {
	<-p.failed
	e := *p.cause
	e.Op = op
	return &e
}

// ended is the error of a call in which the child ended or closed its pipe.
func (p *Process) ended(op string) error {
	p.awaitExit()
	select {
	case <-p.exited:
		if p.cause.Kind == pkcs11.ErrClosed { // while it was being closed
			return &pkcs11.Error{Op: op, Kind: pkcs11.ErrModuleCrashed, Detail: ending(p.cmd.ProcessState)}
		}
	default:
	}
	return p.failure(op)
}

// awaitExit gives a child that is about to end the time to be reaped, so that
// the reason can be told. Then it is hung, not crashed.
func (p *Process) awaitExit() {
	timer := time.NewTimer(reapGrace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		p.fail(pkcs11.ErrModuleHung, "its process does not end")
	}
}

// kill ends the child, ours alone, by its process handle.
func (p *Process) kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended
	p.awaitExit()
}

// Err is nil as long as calls can be made; then why they cannot: ErrModuleHung,
// ErrModuleCrashed or ErrClosed.
func (p *Process) Err() error {
	select {
	case <-p.failed:
		return p.failure("module process")
	default:
		return nil
	}
}

// Healthy reports whether calls can be made.
func (p *Process) Healthy() bool { return p.Err() == nil }

// PID is the process id of the child, for people and for measuring. The child
// may have ended, and the id then be another process's: never signal it.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Close has the module finalised and ends the child: by asking, and if that
// takes longer than a few seconds by killing it. The child is reaped on return
// unless it is stuck in the kernel.
func (p *Process) Close() error {
	p.closeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		err := p.take(ctx, opModuleClose)
		healthy := p.Healthy()
		p.fail(pkcs11.ErrClosed, "the module's process was closed")
		switch {
		case err == nil:
			p.closeErr = p.exchange(ctx, opModuleClose, false, nil, nil)
		case healthy: // a call is still under way
			p.closeErr = err
		}
		_ = p.in.Close() // a child that has not ended yet ends with its pipe
		p.awaitExit()
		p.kill()
	})
	return p.closeErr
}
