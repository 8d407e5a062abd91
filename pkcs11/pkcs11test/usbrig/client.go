package usbrig

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Messages of a client to pcscd (pcsc-lite's winscard_msg.h, protocol 4.4): a length
// and a command, and so much data, integers as the machine has them. The answer is
// data alone.
const (
	commandVersion      = 0x11 // CMD_VERSION: major, minor, return value
	commandReadersState = 0x12 // CMD_GET_READERS_STATE, without data
	major, minor        = 4, 4
)

// One of the MaxReaders entries that answer CMD_GET_READERS_STATE (eventhandler.h,
// struct pubReaderStatesList): name, counter, state and more.
const (
	entrySize   = 184
	nameSize    = 128
	stateOffset = nameSize + 4
	present     = 0x0004 // SCARD_PRESENT
)

// readers asks the daemon for its readers, and whether a card is in each.
func (r *Rig) readers(ctx context.Context) (map[string]bool, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", r.Socket())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	version, err := exchange(conn, commandVersion, []uint32{major, minor, 0}, 12)
	if err != nil {
		return nil, err
	}
	if rv := binary.NativeEndian.Uint32(version[8:]); rv != 0 {
		return nil, fmt.Errorf("the PC/SC daemon does not speak version %d.%d: 0x%X", major, minor, rv)
	}
	states, err := exchange(conn, commandReadersState, nil, MaxReaders*entrySize)
	if err != nil {
		return nil, err
	}
	return parseStates(states)
}

func exchange(conn io.ReadWriter, command uint32, words []uint32, answer int) ([]byte, error) {
	const wordSize = 4
	var message []byte
	for _, word := range append([]uint32{uint32(wordSize * len(words)), command}, words...) {
		message = binary.NativeEndian.AppendUint32(message, word)
	}
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	b := make([]byte, answer)
	_, err := io.ReadFull(conn, b)
	return b, err
}

func parseStates(b []byte) (map[string]bool, error) {
	readers := map[string]bool{}
	for ; len(b) >= entrySize; b = b[entrySize:] {
		name, _, ended := bytes.Cut(b[:nameSize], []byte{0})
		if !ended {
			return nil, errors.New("a reader's name does not end")
		}
		if len(name) > 0 {
			readers[string(name)] = binary.NativeEndian.Uint32(b[stateOffset:])&present != 0
		}
	}
	return readers, nil
}
