package pivcard

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"
)

// reader is a virtual reader that takes one card after the other.
type reader struct {
	*testing.T
	net.Listener
}

func newReader(t *testing.T) reader {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return reader{t, l}
}

// accept waits for a card.
func (r reader) accept() net.Conn {
	r.Helper()
	conn, err := r.Accept()
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (r reader) insert(c *Card) (*Insertion, net.Conn) {
	r.Helper()
	in, err := c.Insert(r.Context(), r.Addr().String())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(in.Pull)
	return in, r.accept()
}

// ask sends a message; the answer is nil when the card is gone.
func (r reader) ask(conn net.Conn, message ...byte) []byte {
	r.Helper()
	if write(conn, message) != nil {
		return nil
	}
	answer, err := read(conn)
	if err != nil {
		return nil
	}
	return answer
}

func TestPullEndsLoginsOnly(t *testing.T) {
	h, _ := newHost(t)
	r := newReader(t)
	in, conn := r.insert(h.card)
	if got := r.ask(conn, controlATR); !bytes.Equal(got, answerToReset()) {
		t.Fatalf("ATR is %x", got)
	}
	h.selects()
	h.verifies(0x63c2, "000000")
	if _, err := h.card.Insert(t.Context(), r.Addr().String()); !errors.Is(err, ErrInserted) {
		t.Errorf("into a second reader: %v", err)
	}
	in.Pull()
	in.Wait()
	_, conn = r.insert(h.card)
	if got := r.ask(conn, 0, insVerify, 0, refPIN); !bytes.Equal(got, status(swConditions)) {
		t.Errorf("the application is still selected: %x", got)
	}
	r.ask(conn, append([]byte{0, insSelect, 4, 0, 11}, applicationID()...)...)
	if got := r.ask(conn, 0, insVerify, 0, refPIN); !bytes.Equal(got, []byte{0x63, 0xc2}) {
		t.Errorf("tries left: %x", got)
	}
}

// TestPullInACommand: before it is carried out, while it is, or before its answer.
func TestPullInACommand(t *testing.T) {
	generate := []byte{0, insGenerate, 0, 0x9a, 5, 0xac, 3, 0x80, 1, algP256}
	for _, row := range []struct {
		name string
		set  func(*Card, func())
		key  bool // is there one afterwards?
	}{
		{"before", func(c *Card, pull func()) { c.Before = func([]byte) { pull() } }, false},
		{"during", func(c *Card, pull func()) {
			c.Slow = time.Hour
			c.Before = func([]byte) { go pull() }
		}, false},
		{"after", func(c *Card, pull func()) { c.After = func([]byte) { pull() } }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, _ := newHost(t)
			r := newReader(t)
			in, conn := r.insert(h.card)
			r.ask(conn, controlATR) // the card is at rest: it has powered on
			h.selects()
			h.authenticates(swOK, FactoryManagementKey)
			row.set(h.card, in.Pull)
			if got := r.ask(conn, generate...); got != nil {
				t.Errorf("the reader got %x", got)
			}
			in.Wait()
			h.card.Before, h.card.After = nil, nil
			if _, sw := h.send(insAttest, 0x9a, 0); (sw == swOK) != row.key {
				t.Errorf("attestation of the key: %04X", sw)
			}
		})
	}
}

// TestReaderDropsACard: a card stays in a reader that drops its connection.
func TestReaderDropsACard(t *testing.T) {
	h, _ := newHost(t)
	r := newReader(t)
	_, conn := r.insert(h.card)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.ask(r.accept(), controlATR); !bytes.Equal(got, answerToReset()) {
		t.Errorf("ATR is %x", got)
	}
}
