package central

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/stationroot"
)

// Whoever does not shake hands holds up nobody else, and goes when the listener does.
func TestHandshakes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	root, err := stationroot.Open(filepath.Join(t.TempDir(), "root"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := root.ServerCertificate(filepath.Join(t.TempDir(), "tls"), []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	h := newHandshakes(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, log.New(io.Discard, "", 0))
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := h.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	silent := dial()
	plain := dial()
	if _, err := io.WriteString(plain, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(plain); err != nil || !strings.HasPrefix(string(said), "HTTP/1.0 400") {
		t.Errorf("HTTP without TLS was answered %q, %v", said, err)
	}
	client := tls.Client(dial(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only whether there is a handshake
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, ok := (<-accepted).(*tls.Conn)
	if !ok || !c.ConnectionState().HandshakeComplete {
		t.Errorf("accepted %T before its handshake", c)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting ended with %v", err)
	}
	if n, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the silent one read %d bytes, %v", n, err)
	}
}
