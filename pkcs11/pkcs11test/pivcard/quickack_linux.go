package pivcard

import (
	"net"
	"syscall"
)

// acknowledge has the next message acknowledged at once. vpcd sends length and data
// apart, and waits for the acknowledgement of the first, which the kernel would
// otherwise hold back for 40 ms at every command.
func acknowledge(conn net.Conn) {
	const quickAck = 12 // TCP_QUICKACK, tcp(7)
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// Without it the card is slow, not wrong.
	_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, quickAck, 1) })
}
