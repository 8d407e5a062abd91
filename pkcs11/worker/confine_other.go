//go:build !linux && !windows

package worker

import (
	"os"
)

// confine takes the standard pipes for itself and leaves the module a null
// device. What else a Linux child gives up has no counterpart here.
func confine() (in, out *os.File, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	in, out = os.Stdin, os.Stdout
	os.Stdin, os.Stdout, os.Stderr = null, null, null
	return in, out, nil
}
