package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// DefaultDeadline is for one command. Making an RSA key takes some TPMs most of it.
const DefaultDeadline = 30 * time.Second

// retryAfter is the pause before a busy TPM is asked again.
const retryAfter = 50 * time.Millisecond

// TPM is one TPM 2.0, used by one caller at a time; it is safe for concurrent use. It
// is opened when it is first used, and again after it went away.
type TPM struct {
	device   string
	deadline time.Duration
	// turn is held by who uses the TPM, and guards what is below.
	turn chan struct{}
	open transport.TPMCloser
	// loaded is the identity key's handle on this connection, 0 when it is not loaded.
	loaded tpm2.TPMHandle
	owner  *Key // whose key is loaded
}

// New is the TPM at a device: a path, "unix:PATH" for a software TPM's socket, or ""
// for DefaultDevice. No command takes longer than deadline (0: DefaultDeadline), nor
// does waiting for one's turn. Nothing is opened yet.
func New(device string, deadline time.Duration) *TPM {
	if device == "" {
		device = DefaultDevice
	}
	if deadline == 0 {
		deadline = DefaultDeadline
	}
	return &TPM{device: device, deadline: deadline, turn: make(chan struct{}, 1)}
}

// Close flushes the loaded key and closes the connection.
func (t *TPM) Close() error {
	if err := t.take(); err != nil {
		return err
	}
	defer t.give()
	if t.open == nil {
		return nil
	}
	err := t.unload()
	if t.open == nil { // it went away meanwhile, with all that was loaded
		return nil
	}
	err = errors.Join(err, t.open.Close())
	t.open = nil
	return err
}

// Check opens the TPM, if it is not open, and asks it who made it: 4 characters, such
// as "IBM ". It returns ErrAbsent, ErrBusy, ErrSlow or ErrDied.
func (t *TPM) Check() (maker string, err error) {
	err = t.do("ask the TPM for its maker", func(s *scope) error {
		const manufacturer = 0x105 // TPM_PT_MANUFACTURER, part 2, 6.13
		answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: manufacturer, PropertyCount: 1}.Execute(s)
		if err != nil {
			return err
		}
		p, err := answer.CapabilityData.Data.TPMProperties()
		if err != nil {
			return err
		}
		if len(p.TPMProperty) != 1 {
			return errors.New("it does not say")
		}
		v := p.TPMProperty[0].Value
		maker = strings.TrimRight(string([]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), "\x00")
		return nil
	})
	return maker, err
}

func (t *TPM) take() error {
	timer := time.NewTimer(t.deadline)
	defer timer.Stop()
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: another call has held it for %s", ErrBusy, t.deadline)
	}
}

func (t *TPM) give() { <-t.turn }

// scope is one use of the TPM: what it loads is flushed at its end.
type scope struct {
	*TPM
	handles []tpm2.TPMHandle
}

// flushLater has a handle flushed at the end of the scope.
func (s *scope) flushLater(h tpm2.TPMHandle) { s.handles = append(s.handles, h) }

// end flushes what is left.
func (s *scope) end() error {
	var errs []error
	for i := len(s.handles) - 1; i >= 0 && s.open != nil; i-- {
		errs = append(errs, flush(s, s.handles[i]))
	}
	s.handles = nil
	return errors.Join(errs...)
}

// do has one caller use the TPM. While the TPM is busy it tries again, until the
// deadline. Errors are classified.
func (t *TPM) do(what string, use func(*scope) error) error {
	if err := t.take(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer t.give()
	begun := time.Now()
	for {
		err := t.connect()
		if err == nil {
			held := t.loaded
			s := &scope{TPM: t}
			err = errors.Join(use(s), s.end())
			if held != 0 && forgot(err) {
				// The machine slept, or another program flushed the key: it loads again.
				t.loaded, t.owner = 0, nil
				err = errors.Join(use(s), s.end())
			}
			err = classify(what, err)
		}
		if !errors.Is(err, ErrBusy) || time.Since(begun)+retryAfter > t.deadline {
			return err
		}
		time.Sleep(retryAfter)
	}
}

// forgot says that a handle is not the TPM's any more.
func forgot(err error) bool {
	return errors.Is(err, tpm2.TPMRCHandle) || errors.Is(err, tpm2.TPMRCReferenceH0) || errors.Is(err, tpm2.TPMRCReferenceH1)
}

func (t *TPM) connect() error {
	if t.open != nil {
		return nil
	}
	var err error
	if path, is := strings.CutPrefix(t.device, socketPrefix); is {
		t.open, err = openSocket(path, t.deadline)
	} else {
		t.open, err = openDevice(t.device)
	}
	if err == nil {
		return nil
	}
	t.open = nil
	var slow interface{ Timeout() bool }
	class := ErrAbsent
	switch {
	case errors.Is(err, syscall.EBUSY):
		class = ErrBusy
	case errors.As(err, &slow) && slow.Timeout():
		class = ErrSlow
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w; let this program's user use it (on Debian: the group tss)", class, err)
	}
	return fmt.Errorf("%w: %w", class, err)
}

// Send implements transport.TPM: one command, within the deadline. After an error of
// the connection, and after the deadline, the connection is given up, for nobody
// knows what it would bring next.
func (t *TPM) Send(command []byte) ([]byte, error) {
	if t.open == nil {
		return nil, ErrDied
	}
	type answer struct {
		bytes []byte
		err   error
	}
	answered := make(chan answer, 1)
	conn := t.open
	go func() {
		b, err := conn.Send(command)
		answered <- answer{b, err}
	}()
	timer := time.NewTimer(t.deadline)
	defer timer.Stop()
	select {
	case a := <-answered:
		if a.err == nil {
			return a.bytes, nil
		}
		t.giveUp()
		if errors.Is(a.err, syscall.EBUSY) {
			return nil, fmt.Errorf("%w: %w", ErrBusy, a.err)
		}
		return nil, fmt.Errorf("%w: %w", ErrDied, a.err)
	case <-timer.C:
		t.giveUp()
		return nil, fmt.Errorf("%w within %s", ErrSlow, t.deadline)
	}
}

func (t *TPM) giveUp() {
	conn := t.open
	t.open, t.loaded, t.owner = nil, 0, nil
	go closeQuietly(conn) // closing a device may wait for the command
}

// closeQuietly is for what is broken already; there is nobody to tell.
func closeQuietly(c io.Closer) { _ = c.Close() }
