package pivcard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// ErrInserted: a card cannot be in two readers.
var ErrInserted = errors.New("the card is in a reader already")

// Control bytes of vpcd, the virtual reader of the vsmartcard project. Every message
// is a length of two bytes, big-endian, and so much data: one control byte, or an APDU.
const (
	controlOff   = 0
	controlOn    = 1
	controlReset = 2
	controlATR   = 4
)

// answerToReset is that of a YubiKey 5: T=1, and "YubiKey" among its historical bytes.
func answerToReset() []byte {
	return []byte{0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75, 0x62, 0x69, 0x4b, 0x65, 0x79, 0x40}
}

// Insertion is a card in a reader.
type Insertion struct {
	card    *Card
	address string
	power   context.Context // until the card is pulled
	cut     context.CancelFunc
	ended   chan struct{}

	mu   sync.Mutex
	conn net.Conn
	once sync.Once
}

// Insert puts the card into the virtual reader that listens at address, where it stays
// until Pull.
func (c *Card) Insert(ctx context.Context, address string) (*Insertion, error) {
	if !c.inserted.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("card %d: %w", c.Serial, ErrInserted)
	}
	i := &Insertion{card: c, address: address, ended: make(chan struct{})}
	i.power, i.cut = context.WithCancel(context.WithoutCancel(ctx))
	if err := i.connect(ctx); err != nil {
		i.cut()
		c.inserted.Store(false)
		return nil, err
	}
	go i.stay()
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
	if i.power.Err() != nil {
		return errors.Join(i.power.Err(), conn.Close())
	}
	return nil
}

// stay serves the reader until the card is pulled. vpcd drops whoever connects while it
// is still getting over the last card: such a card is there all the same, and tries again.
func (i *Insertion) stay() {
	defer close(i.ended)
	for i.power.Err() == nil {
		i.mu.Lock()
		conn := i.conn
		i.mu.Unlock()
		_ = i.card.serve(i.power, conn) // it ends when either side closes
		_ = conn.Close()
		const again = 20 * time.Millisecond
		for i.power.Err() == nil {
			select {
			case <-i.power.Done():
			case <-time.After(again):
			}
			if i.connect(i.power) == nil {
				break
			}
		}
	}
}

// Pull takes the card out, in the middle of a command if need be: it loses power, which
// ends what it is doing, and the reader sees it at once.
func (i *Insertion) Pull() {
	i.once.Do(func() {
		i.cut()
		i.mu.Lock()
		_ = i.conn.Close()
		i.mu.Unlock()
		i.card.inserted.Store(false)
	})
}

// Wait waits until a card that was pulled has come to rest.
func (i *Insertion) Wait() { <-i.ended }

func (c *Card) serve(power context.Context, conn net.Conn) error {
	for {
		acknowledge(conn)
		message, err := read(conn)
		if err != nil {
			return err
		}
		if response := c.hear(power, message); response != nil {
			if err := write(conn, response); err != nil {
				return err
			}
		}
	}
}

// hear does what a message of the reader says, and returns the answer if it wants one.
func (c *Card) hear(power context.Context, message []byte) []byte {
	if power.Err() != nil {
		return nil // a message that came just before the pull
	}
	if len(message) != 1 {
		return c.command(power, message)
	}
	switch message[0] {
	case controlATR:
		return answerToReset()
	case controlOff, controlOn, controlReset:
		c.powerOn()
	}
	return nil
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
