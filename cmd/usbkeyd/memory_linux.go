package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// shutMemory keeps the memory of this process, in which PINs are drawn, to itself:
// no core dump, and nobody but root can trace it or read /proc/PID/mem. The processes
// of modules inherit the limit and do the rest themselves.
func shutMemory() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turn core dumps off: RLIMIT_CORE: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep others out of the memory: PR_SET_DUMPABLE: %w", err)
	}
	return nil
}
