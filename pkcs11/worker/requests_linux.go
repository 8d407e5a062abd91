package worker

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// requests gives the function that reads one request after another, and from
// then on ends the process when its parent does. A thread of its own waits for
// the hang-up, so that requests are read by the goroutine that serves them; a
// call into the module, which may never return, is waited for as long as the
// parent would have.
func requests(in *os.File, now *underway) func() ([]byte, error) {
	fd := int32(in.Fd())
	go func() {
		for {
			// No events are asked for; POLLHUP is always told (poll(2)).
			n, err := unix.Poll([]unix.PollFd{{Fd: fd}}, -1)
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				now.abandon()
			}
		}
	}()
	return newFrameReader(in).next
}
