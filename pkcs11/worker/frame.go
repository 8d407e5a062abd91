package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxFrame bounds a message, so that a broken child cannot make us allocate at will.
const maxFrame = 1 << 20

const frameHeader = 4

// newFrame begins a message with room for its header.
func newFrame(room int) *encoder {
	return &encoder{buf: make([]byte, frameHeader, frameHeader+room)}
}

// writeFrame completes the header and writes header and message at once.
func writeFrame(w io.Writer, e *encoder) error {
	n := len(e.buf) - frameHeader
	if n > maxFrame {
		return fmt.Errorf("a message of %d bytes is over the limit of %d", n, maxFrame)
	}
	binary.BigEndian.PutUint32(e.buf, uint32(n))
	_, err := w.Write(e.buf)
	return err
}

// frameReader reads messages, a small one together with its header in one read.
type frameReader struct {
	r io.Reader
	// ahead holds what was read and not yet given out; what was is wiped.
	ahead      [4096]byte
	start, end int
}

func newFrameReader(r io.Reader) *frameReader { return &frameReader{r: r} }

// next reads one message. io.EOF means that the other end closed between two.
func (f *frameReader) next() ([]byte, error) {
	for f.end-f.start < frameHeader {
		if f.start > 0 {
			copy(f.ahead[:], f.ahead[f.start:f.end])
			clear(f.ahead[f.end-f.start : f.end])
			f.start, f.end = 0, f.end-f.start
		}
		n, err := f.r.Read(f.ahead[f.end:])
		f.end += n
		switch {
		case f.end-f.start >= frameHeader:
		case errors.Is(err, io.EOF) && f.end > f.start:
			return nil, errCutShort
		case err != nil:
			return nil, err
		}
	}
	n := binary.BigEndian.Uint32(f.ahead[f.start:])
	if n > maxFrame {
		return nil, fmt.Errorf("a message of %d bytes is over the limit of %d", n, maxFrame)
	}
	f.start += frameHeader
	message := make([]byte, n)
	have := copy(message, f.ahead[f.start:f.end])
	clear(f.ahead[f.start : f.start+have])
	f.start += have
	if _, err := io.ReadFull(f.r, message[have:]); err != nil {
		return nil, errors.Join(errCutShort, err)
	}
	return message, nil
}

var errCutShort = errors.New("message cut short")
