package console

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// vouches reports whether this system says who is at the other end of a socket.
func vouches() error { return nil }

// peer is the user id under which the other end called connect, as the kernel noted it.
func peer(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("who is at the console socket: %w", err)
	}
	return cred.Uid, nil
}
