//go:build !linux

package worker

import "os"

// requests gives the function that reads one request after another, and from
// then on ends the process when its parent does: the pipe is always being read,
// and a call into the module, which may never return, is waited for as long as
// the parent would have.
func requests(in *os.File, now *underway) func() ([]byte, error) {
	read := make(chan []byte)
	go func() {
		frames := newFrameReader(in)
		for {
			request, err := frames.next()
			if err != nil {
				now.abandon()
			}
			read <- request
		}
	}()
	return func() ([]byte, error) { return <-read, nil }
}
