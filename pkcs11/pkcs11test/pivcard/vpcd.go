package pivcard

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// Control bytes of vpcd, the virtual reader of the vsmartcard project. Every message
// is a length of two bytes, big-endian, and so much data: one control byte, or an APDU.
const (
	controlOff = iota
	controlOn
	controlReset
	_
	controlATR
)

// answerToReset is that of a YubiKey 5: T=1, and "YubiKey" among its historical bytes.
func answerToReset() []byte {
	return []byte{0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75, 0x62, 0x69, 0x4b, 0x65, 0x79, 0x40}
}

// Insertion is a card in a reader.
type Insertion struct {
	card    *Card
	address string
	ended   chan struct{}

	mu     sync.Mutex
	conn   net.Conn
	pulled bool
}

// Insert puts the card into the virtual reader that listens at address, where it stays
// until Pull.
func (c *Card) Insert(ctx context.Context, address string) (*Insertion, error) {
	i := &Insertion{card: c, address: address, ended: make(chan struct{})}
	if err := i.connect(ctx); err != nil {
		return nil, err
	}
	go i.stay(context.WithoutCancel(ctx))
	return i, nil
}

func (i *Insertion) connect(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", i.address)
	if err != nil {
		return err
	}
	i.card.powerOn()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.conn = conn
	if i.pulled {
		_ = conn.Close()
	}
	return nil
}

// stay serves the reader until the card is pulled. vpcd drops whoever connects while it
// is still getting over the last card: such a card is there all the same, and tries again.
func (i *Insertion) stay(ctx context.Context) {
	defer close(i.ended)
	for {
		i.mu.Lock()
		conn, pulled := i.conn, i.pulled
		i.mu.Unlock()
		if pulled {
			return
		}
		_ = i.card.serve(conn) // it ends when either side closes
		_ = conn.Close()
		const again = 20 * time.Millisecond
		time.Sleep(again)
		if err := i.connect(ctx); err != nil {
			time.Sleep(again) // the reader may listen again in a moment; a pull ends this
		}
	}
}

// Pull takes the card out, in the middle of a command if need be: the reader sees it
// at once, and whatever the card still does nobody hears of.
func (i *Insertion) Pull() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pulled = true
	_ = i.conn.Close()
}

// Wait waits until a card that was pulled has come to rest.
func (i *Insertion) Wait() { <-i.ended }

func (c *Card) serve(conn net.Conn) error {
	for {
		acknowledge(conn)
		message, err := read(conn)
		if err != nil {
			return err
		}
		if len(message) != 1 {
			if err := write(conn, c.Command(message)); err != nil {
				return err
			}
			continue
		}
		switch message[0] {
		case controlOff, controlOn, controlReset:
			c.powerOn()
		case controlATR:
			if err := write(conn, answerToReset()); err != nil {
				return err
			}
		}
	}
}

func read(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func write(w io.Writer, message []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}
