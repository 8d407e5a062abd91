package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// childName is argv[0] of a child, and so its name in a process list.
const childName = "usbkeyd-token-worker"

// Exit codes of a child that ends by itself.
const (
	exitDone      = 0
	exitNoParent  = 3 // its pipe ended
	exitConfine   = 4 // it could not shut itself in
	exitMalformed = 5 // it was sent what it does not understand
)

// Opener loads a module by its absolute path; reserved is Spec.Reserved.
type Opener func(path, reserved string) (pkcs11.Module, error)

// ServeIfChild turns this process into the child that serves one module, and
// then never returns, when it was started as one; else it returns at once. It
// must be the first thing in main: a child must not start what it does not need.
func ServeIfChild(open Opener) {
	if !isChild() {
		return
	}
	exit(serve(open))
}

// The arguments of a child, after its name and before pipeArgs; none is a secret.
const (
	argPath = iota + 1
	argLock
	argTrust
	argSHA256
	argReserved
	argCount
)

func isChild() bool { return len(os.Args) == argCount+pipeArgs && os.Args[0] == childName }

func serve(open Opener) int {
	// All calls come from one thread: a module's memory is then of one arena, and not spread
	// over those of all threads of the runtime.
	runtime.LockOSThread()
	in, out, err := confine()
	if out == nil {
		return exitConfine
	}
	// The first collection is at 2 MB: what is made at the start, in packages of which a
	// child uses little, is below. A collection reads all data of the program into memory,
	// which costs more than it sets free.
	const gcPercent = 50
	debug.SetGCPercent(gcPercent)

	var next func() ([]byte, error)
	var module pkcs11.Module
	var now underway
	var kept holdings
	defer func() { runtime.KeepAlive(kept) }()
	if err == nil {
		next = requests(in, &now)
		module, err = kept.load(open)
	}
	if writeFrame(out, hello(err)) != nil || err != nil {
		return exitDone
	}

	s := &server{module: module, tokens: make(map[uint64]pkcs11.Token), again: kept.again}
	for {
		request, err := next()
		if err != nil {
			return exitNoParent
		}
		d := &decoder{buf: request}
		op := operation(d.uint())
		if !now.begin(time.Duration(d.uint()) * time.Millisecond) {
			return exitNoParent
		}
		response := s.answer(op, d)
		now.end()
		clear(request) // it may have held a PIN
		if d.bad {
			return exitMalformed
		}
		if writeFrame(out, response) != nil || op == opModuleClose || s.module == nil || s.confused {
			return exitDone
		}
	}
}

// holdings are the open files that a child has for life. They must stay referred
// to: a file that nothing refers to is closed at the next garbage collection.
type holdings struct {
	lock   *filelock.Lock
	module *os.File
	again  func() (pkcs11.Module, error) // initialises the module once more
}

// load loads the module once it is known to be the one that is meant.
func (h *holdings) load(open Opener) (module pkcs11.Module, err error) {
	if h.lock, err = holdLock(os.Args[argLock]); err != nil {
		return nil, err
	}
	var path string
	path, h.module, err = checkModule(os.Args[argPath], Trust(os.Args[argTrust]), os.Args[argSHA256])
	if err != nil {
		return nil, err
	}
	h.again = func() (pkcs11.Module, error) { return open(path, os.Args[argReserved]) }
	return h.again()
}

// holdLock shows that this child lives, as long as the lock is held; nil without a path.
func holdLock(path string) (*filelock.Lock, error) {
	if path == "" {
		return nil, nil
	}
	lock, err := filelock.Shared(path)
	if err != nil {
		return nil, &pkcs11.Error{Op: opStart, Kind: pkcs11.ErrGeneral, Detail: "the instance's lock: " + err.Error()}
	}
	return lock, nil
}

// underway is the call that the child is making, for whoever notices that the
// parent has gone: a write to a token that is cut off can leave the token unusable.
type underway struct {
	mu    sync.Mutex
	until time.Time // zero between calls
	gone  bool      // the parent has: no other call may begin
}

// begin notes a call that has so long, and reports whether it may be made. A request
// can still be read when its parent has gone; nobody would wait for what it writes.
func (u *underway) begin(limit time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gone {
		return false
	}
	u.until = time.Now().Add(limit)
	return true
}

func (u *underway) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.until = time.Time{}
}

// abandon ends the process when its parent has gone: at once between calls, else
// when the call has ended, which the serving goroutine sees, or has had its time.
func (u *underway) abandon() {
	if until := u.parentGone(); !until.IsZero() {
		time.Sleep(time.Until(until))
	}
	exit(exitNoParent)
}

// parentGone lets no other call begin, and gives the end of the one under way.
func (u *underway) parentGone() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.gone = true
	return u.until
}

// hello is a child's first message: that it is one, of which build, and whether the module is initialised.
func hello(err error) *encoder {
	e := newFrame(256)
	e.string(protocol)
	e.string(build())
	if err != nil {
		e.uint(statusError)
		e.error(err)
	} else {
		e.uint(statusOK)
	}
	return e
}

// server is the state of a child: its module and the tokens opened from it.
type server struct {
	module pkcs11.Module // nil when it could not be initialised once more
	tokens map[uint64]pkcs11.Token
	last   uint64
	again  func() (pkcs11.Module, error)
	// confused is set when a call ended where none should: what the module holds now
	// is not known, and the next child starts anew.
	confused bool
}

// answer carries out one request and makes the response to it.
func (s *server) answer(op operation, d *decoder) *encoder {
	e := newFrame(512)
	e.uint(statusOK)
	err := s.guarded(op, d, e)
	if err == nil && len(e.buf)-frameHeader > maxFrame {
		err = &pkcs11.Error{Op: op.String(), Kind: pkcs11.ErrGeneral, Detail: "the answer is too long to be passed on"}
	}
	if err != nil {
		e = newFrame(256)
		e.uint(statusError)
		e.error(err)
	}
	return e
}

// guarded is do for a module that gives absurd lengths, over which the binding panics:
// the parent would learn an exit status and not the reason.
func (s *server) guarded(op operation, d *decoder, e *encoder) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.confused = true
			err = &pkcs11.Error{
				Op: op.String(), Kind: pkcs11.ErrGeneral, Detail: fmt.Sprintf("the module gave an answer that cannot be: %v", cause),
			}
		}
	}()
	return s.do(op, d, e)
}

// do decodes the arguments of an operation, carries it out unless they are
// malformed, and encodes what it returns.
func (s *server) do(op operation, d *decoder, e *encoder) error {
	ctx := context.Background() // the parent keeps the time
	switch op {
	case opModuleClose:
		if d.end() != nil {
			return malformed(d)
		}
		return s.module.Close()
	case opModuleInfo:
		if d.end() != nil {
			return malformed(d)
		}
		info, err := s.module.Info(ctx)
		e.moduleInfo(info)
		return err
	case opSlots:
		if d.end() != nil {
			return malformed(d)
		}
		slots, err := s.module.Slots(ctx)
		e.slots(slots)
		return err
	case opOpen:
		id := d.identity()
		if d.end() != nil {
			return malformed(d)
		}
		token, err := s.module.Open(ctx, id)
		if errors.Is(err, pkcs11.ErrNotFound) && len(s.tokens) == 0 {
			token, err = s.reopen(ctx, id)
		}
		if err != nil {
			return err
		}
		s.last++
		s.tokens[s.last] = token
		e.uint(s.last)
		e.identity(token.Identity())
		return nil
	case opReset:
		if d.end() != nil {
			return malformed(d)
		}
		return s.reset()
	default:
		return s.doToken(ctx, op, d, e)
	}
}

// reopen initialises the module once more and looks again: SoftHSM shows a token
// that another process initialised only then, OpenSC some readers that came later
// (OpenSC #3241). No token is open here, so nothing is lost by it.
func (s *server) reopen(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	err := s.module.Close()
	s.module = nil
	if err != nil {
		return nil, err
	}
	if s.module, err = s.again(); err != nil {
		s.module = nil
		return nil, err
	}
	return s.module.Open(ctx, id)
}

func (s *server) reset() error {
	var first error
	for n, t := range s.tokens {
		if err := t.Close(); err != nil && first == nil {
			first = err
		}
		delete(s.tokens, n)
	}
	return first
}

func malformed(d *decoder) error {
	d.fail()
	return errMalformed
}
