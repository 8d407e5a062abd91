package central

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"time"
)

// handshakeTime is what a handshake may take, as long as the head of a request.
const handshakeTime = 10 * time.Second

// handshakes is a listener for TLS whose connections have their handshake behind them. It
// happens on a goroutine of its own, whose stack goes with it: a handshake needs several
// times what a connection needs afterwards, and a stack that has grown seldom shrinks.
type handshakes struct {
	net.Listener
	config *tls.Config
	log    *log.Logger

	accepted chan net.Conn
	failed   chan error
	open     context.Context
	close    context.CancelFunc
	once     sync.Once
}

// newHandshakes takes connections from l until it is closed.
func newHandshakes(l net.Listener, config *tls.Config, log *log.Logger) *handshakes {
	h := &handshakes{Listener: l, config: config, log: log, accepted: make(chan net.Conn), failed: make(chan error)}
	h.open, h.close = context.WithCancel(context.Background())
	return h
}

// Accept gives the next connection. An error of the listener comes to whoever accepts next.
func (h *handshakes) Accept() (net.Conn, error) {
	h.once.Do(func() { go h.run() })
	select {
	case c := <-h.accepted:
		return c, nil
	case err := <-h.failed:
		return nil, err
	case <-h.open.Done():
		return nil, net.ErrClosed
	}
}

// Close ends what is under way too.
func (h *handshakes) Close() error {
	h.close()
	return h.Listener.Close()
}

func (h *handshakes) run() {
	for {
		c, err := h.Listener.Accept()
		if err == nil {
			go h.shake(c)
			continue
		}
		select {
		case h.failed <- err:
		case <-h.open.Done():
			return
		}
	}
}

func (h *handshakes) shake(c net.Conn) {
	ctx, cancel := context.WithTimeout(h.open, handshakeTime)
	defer cancel()
	conn := tls.Server(c, h.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		h.log.Printf("TLS handshake error from %s: %v", c.RemoteAddr(), err)
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil {
			_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nhttps is spoken here\n") // it may be no browser, or gone
		}
		_ = c.Close() // it is of no use to anybody
		return
	}
	select {
	case h.accepted <- conn:
	case <-h.open.Done():
		_ = conn.Close() // nobody has heard of it
	}
}
