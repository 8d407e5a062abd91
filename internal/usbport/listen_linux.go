package usbport

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// socket is the kernel's news (netlink(7), NETLINK_KOBJECT_UEVENT).
type socket struct {
	file   *os.File
	buffer [maxNews + 1]byte
}

// fromKernel is the group to which the kernel sends; what udev makes of it goes to another.
const fromKernel = 1

// Listen tells of every USB device that comes, until ctx ends; of what was refused as well.
// It fails where there are no such news or no right to them.
func Listen(ctx context.Context, added func(port string), refused func(error)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return fmt.Errorf("the kernel's news of devices: %w", err)
	}
	s := &socket{file: os.NewFile(uintptr(fd), "uevent")}
	defer func() { _ = s.file.Close() }()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		return fmt.Errorf("the kernel's news of devices: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = s.file.Close() })()
	err = follow(s, added, refused)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the kernel's news of devices: %w", err)
}

// next implements source.
func (s *socket) next() (news []byte, sender uint32, err error) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return nil, 0, err
	}
	var n int
	var from unix.Sockaddr
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, from, failed = unix.Recvfrom(int(fd), s.buffer[:], 0)
		return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
	})
	if errors.Is(failed, unix.ENOBUFS) { // too many at once: some are lost, more will come
		return nil, 0, nil
	}
	if err = errors.Join(err, failed); err != nil {
		return nil, 0, err
	}
	at, ok := from.(*unix.SockaddrNetlink)
	if !ok {
		return nil, 0, fmt.Errorf("%w: it came from %T", ErrSender, from)
	}
	return s.buffer[:n], at.Pid, nil
}
