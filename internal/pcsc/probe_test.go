package pcsc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func answer(major, minor, rv uint32) []byte {
	var b []byte
	for _, word := range []uint32{major, minor, rv} {
		b = binary.NativeEndian.AppendUint32(b, word)
	}
	return b
}

// serve plays pcscd on a socket of its own; each connection is left to handle.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "comm")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go handle(conn)
		}
	}()
	return socket
}

// replying reads the question as pcscd does, then sends what a test wants and closes.
func replying(t *testing.T, reply []byte) func(net.Conn) {
	return func(c net.Conn) {
		defer func() { _ = c.Close() }()
		asked := make([]byte, 20)
		if _, err := io.ReadFull(c, asked); err != nil {
			t.Errorf("the question is not whole: %v", err)
		}
		// rxHeader{size: 12, command: CMD_VERSION}, version_struct{4, 4, 0}.
		want := append(append(binary.NativeEndian.AppendUint32(nil, 12), binary.NativeEndian.AppendUint32(nil, 0x11)...), answer(4, 4, 0)...)
		if !bytes.Equal(asked, want) {
			t.Errorf("asked % x, want % x", asked, want)
		}
		_, _ = c.Write(reply)
	}
}

// stays keeps a connection open and says nothing until the other side leaves.
func stays(c net.Conn) {
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
}

// TestProbe lets something listen on the socket, or nothing.
func TestProbe(t *testing.T) {
	rows := []struct {
		name   string
		socket func(*testing.T) string
		want   error
	}{
		{"it answers", func(t *testing.T) string { return serve(t, replying(t, answer(4, 4, 0))) }, nil},
		{"it speaks another version and says so", func(t *testing.T) string { return serve(t, replying(t, answer(4, 9, 0x8010001d))) }, nil},
		{"there is no socket", func(t *testing.T) string { return filepath.Join(t.TempDir(), "comm") }, ErrNotRunning},
		{"a socket that was left behind", leftBehind, ErrNotRunning},
		{"a file in its place", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "comm")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, ErrNotRunning},
		{"it takes the question and never answers", func(t *testing.T) string { return serve(t, stays) }, ErrStuck},
		{"it lets nobody in", func(t *testing.T) string { return full(t) }, ErrStuck},
		{"it closes at once", func(t *testing.T) string { return serve(t, func(c net.Conn) { _ = c.Close() }) }, ErrRefused},
		{"it closes without an answer", func(t *testing.T) string { return serve(t, replying(t, nil)) }, ErrRefused},
		{"half an answer", func(t *testing.T) string { return serve(t, replying(t, answer(4, 4, 0)[:7])) }, ErrNonsense},
		{"something else answers", func(t *testing.T) string { return serve(t, replying(t, []byte("HTTP/1.1 400"))) }, ErrNonsense},
		{"zeros", func(t *testing.T) string { return serve(t, replying(t, answer(0, 0, 0))) }, ErrNonsense},
		{"a return value that is none", func(t *testing.T) string { return serve(t, replying(t, answer(4, 4, 7))) }, ErrNonsense},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			socket := row.socket(t)
			ctx := t.Context()
			if errors.Is(row.want, ErrStuck) {
				short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
				ctx = short
			}
			err := Probe(ctx, socket)
			if !errors.Is(err, row.want) || row.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func leftBehind(t *testing.T) string {
	socket := filepath.Join(t.TempDir(), "comm")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return socket
}

// full is a socket whose queue is taken by those who wait to be let in, as it gets
// when pcscd was stopped for a while.
func full(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "comm")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: socket}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = waiting.Close() })
	if second, err := net.Dial("unix", socket); err == nil {
		_ = second.Close()
		t.Fatal("the queue of one has room for two, so this tests nothing")
	}
	return socket
}

// TestProbeIsBrokenOff: whoever stops waiting is not told that pcscd is stuck.
func TestProbeIsBrokenOff(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	asked := make(chan struct{})
	socket := serve(t, func(c net.Conn) { close(asked); stays(c) })
	go func() { <-asked; stop() }()
	if err := Probe(ctx, socket); !errors.Is(err, context.Canceled) || errors.Is(err, ErrStuck) {
		t.Errorf("got %v", err)
	}
}

func TestProbeHasALimitOfItsOwn(t *testing.T) {
	socket := serve(t, stays)
	begun := time.Now()
	if err := Probe(t.Context(), socket); !errors.Is(err, ErrStuck) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took < Limit || took > 5*Limit {
		t.Errorf("waited %s, want %s", took, Limit)
	}
}

// FuzzJudge: no answer of the right length is taken for pcscd's unless it could be.
func FuzzJudge(f *testing.F) {
	f.Add(answer(4, 4, 0))
	f.Add(answer(4, 4, 0x8010001d))
	f.Add([]byte("HTTP/1.1 400"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != versionSize {
			return
		}
		version := binary.NativeEndian.Uint32(b)
		if err := judge(b, "/comm"); err == nil && (version == 0 || version > 99) {
			t.Errorf("% x is taken for an answer", b)
		}
	})
}

func TestWhichSocket(t *testing.T) {
	if s := Socket(nil); s != "/run/pcscd/pcscd.comm" {
		t.Errorf("by default %s", s)
	}
	if s := Socket(map[string]string{"PCSCLITE_CSOCK_NAME": "/run/other.comm"}); s != "/run/other.comm" {
		t.Errorf("with a variable %s", s)
	}
}
