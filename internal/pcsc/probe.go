// Package pcsc asks whether pcscd works, the one daemon between modules and smart
// card readers: when it hangs, every token behind it hangs, and none is at fault.
//
// It owns the question and which module needs an answer. It must not know tokens,
// jobs, or what is done about a pcscd that does not work.
package pcsc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Sentinel is a constant error, compared with errors.Is.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// What Probe finds wrong.
const (
	ErrNotRunning Sentinel = "pcscd is not running"
	ErrStuck      Sentinel = "pcscd does not answer"
	ErrRefused    Sentinel = "pcscd turns this user away"
	ErrNonsense   Sentinel = "what answers is not pcscd"
)

// defaultSocket is where pcscd listens, if it was not built otherwise.
const defaultSocket = "/run/pcscd/pcscd.comm"

// Socket is the socket that a process with this environment uses.
func Socket(env map[string]string) string {
	if s := env["PCSCLITE_CSOCK_NAME"]; s != "" {
		return s
	}
	return defaultSocket
}

// Limit is how long Probe waits for an answer, which takes well under a millisecond.
const Limit = 2 * time.Second

// Messages are those of pcsc-lite's winscard_msg.h, integers as the machine has them.
const (
	commandVersion = 0x11 // CMD_VERSION
	headerSize     = 8    // struct rxHeader: size and command
	versionSize    = 12   // struct version_struct: major, minor, rv
	// The version that we claim to speak: newer daemons know it too. One that does
	// not says which it speaks, and has answered all the same.
	major, minor = 4, 4
)

// Probe asks the pcscd at a socket for its protocol version, and returns nil when
// it answers: its thread that takes connections lives, and one of its own serves
// us. Else ErrNotRunning, ErrStuck, ErrRefused or ErrNonsense; or ctx's error when
// the caller breaks it off.
func Probe(ctx context.Context, socket string) error {
	limited, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	err := ask(limited, socket)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return err
}

func ask(ctx context.Context, socket string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return fault(connecting(err), socket, err)
	}
	defer func() { _ = conn.Close() }()
	// Ends what is under way when ctx does, whether by its deadline or earlier.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()

	if _, err := conn.Write(question()); err != nil {
		return fault(talking(err, 0), socket, err)
	}
	answer := make([]byte, versionSize)
	if n, err := io.ReadFull(conn, answer); err != nil {
		return fault(talking(err, n), socket, err)
	}
	return judge(answer, socket)
}

func fault(kind Sentinel, socket string, err error) error {
	return fmt.Errorf("%w (socket %s): %w", kind, socket, err)
}

func question() []byte {
	order := binary.NativeEndian
	b := make([]byte, 0, headerSize+versionSize)
	for _, word := range []uint32{versionSize, commandVersion, major, minor, 0} {
		b = order.AppendUint32(b, word)
	}
	return b
}

// judge looks at a version_struct. Any version will do: what counts is the answer.
func judge(answer []byte, socket string) error {
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(answer[at:]) }
	// A return value is 0 or one of SCARD_E_…, whose upper half is 0x8010 (pcsclite.h).
	const most = 99
	if rv := word(8); word(0) == 0 || word(0) > most || word(4) > most || rv != 0 && rv>>16 != 0x8010 {
		return fault(ErrNonsense, socket, fmt.Errorf("it answers % x", answer))
	}
	return nil
}

// connecting says what a failure to connect means.
func connecting(err error) Sentinel {
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return ErrRefused
	case errors.Is(err, syscall.EAGAIN), timedOut(err):
		return ErrStuck // so many wait to be let in that there is no place left
	}
	return ErrNotRunning
}

// talking says what a failure means once n bytes of an answer have come.
func talking(err error, n int) Sentinel {
	switch {
	case timedOut(err):
		return ErrStuck
	case n == 0:
		return ErrRefused // by polkit, or because it serves as many as it can
	}
	return ErrNonsense
}

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
