//go:build !linux

package usbrig

import (
	"errors"
	"os"
	"syscall"
)

// The rig is built elsewhere too, but runs on Linux only.
var terminate = os.Interrupt

func endWithUs() *syscall.SysProcAttr { return nil }

func listens(int, []int) (bool, error) { return false, errors.New("the virtual USB rig needs Linux") }
