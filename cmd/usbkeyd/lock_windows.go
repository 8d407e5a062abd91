package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// lockState makes sure that one daemon works on a state folder. The system drops
// the lock when the process ends, however it ends.
func lockState(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another usbkeyd works on this state folder (%s is locked): stop it first: %w", path, err)
	}
	return f, nil
}
