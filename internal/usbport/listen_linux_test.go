package usbport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestListen: at the kernel itself. What somebody else sends there is refused, where the kernel
// takes it from him at all, which it does from root.
func TestListen(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	refused := make(chan error, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- Listen(ctx, func(port string) { refused <- fmt.Errorf("a device is said to have come at %s", port) }, func(err error) { refused <- err })
	}()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	for told := false; !told; { // until somebody listens
		err := unix.Sendto(fd, plugged("/devices/forged/usb7/7-1"), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel})
		if errors.Is(err, unix.EPERM) && os.Getuid() != 0 {
			break
		}
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
		select {
		case err := <-refused:
			if !errors.Is(err, ErrSender) {
				t.Error(err)
			}
			told = true
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
