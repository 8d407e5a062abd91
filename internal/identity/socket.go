package identity

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const (
	socketPrefix = "unix:"
	headerLen    = 10   // tag, size, code (part 1, 18)
	maxAnswer    = 4096 // as much as any TPM answers
)

// socket is a software TPM at a Unix socket.
type socket struct{ net.Conn }

// openSocket connects. There is no resource manager behind a socket, so what a program
// that died has left loaded is flushed: the socket has one user at a time.
func openSocket(path string, deadline time.Duration) (transport.TPMCloser, error) {
	conn, err := net.DialTimeout("unix", path, deadline)
	if err != nil {
		return nil, err
	}
	s := socket{conn}
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		return nil, err
	}
	if err := flushAll(s); err != nil {
		return nil, fmt.Errorf("%w (the error of closing it: %v)", err, conn.Close())
	}
	return s, conn.SetDeadline(time.Time{})
}

// Send implements transport.TPM.
func (s socket) Send(command []byte) ([]byte, error) {
	if _, err := s.Write(command); err != nil {
		return nil, err
	}
	answer := make([]byte, headerLen, maxAnswer)
	if _, err := io.ReadFull(s, answer); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(answer[2:])
	if size < headerLen || size > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes", size)
	}
	answer = answer[:size]
	_, err := io.ReadFull(s, answer[headerLen:])
	return answer, err
}

// flushAll flushes loaded objects and sessions.
func flushAll(t transport.TPM) error {
	for _, first := range []uint32{0x80000000, 0x02000000} { // part 2, 7.4: transient objects, loaded sessions
		loaded, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64}.Execute(t)
		if err != nil {
			return err
		}
		handles, err := loaded.CapabilityData.Data.Handles()
		if err != nil {
			return err
		}
		for _, h := range handles.Handle {
			if err := flush(t, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func flush(t transport.TPM, h tpm2.TPMHandle) error {
	_, err := tpm2.FlushContext{FlushHandle: h}.Execute(t)
	return err
}
