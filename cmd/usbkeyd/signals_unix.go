//go:build unix

package main

import (
	"os"
	"syscall"
)

// stopSignals ask for a clean stop.
func stopSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// reloadSignals ask for the configuration to be read again.
func reloadSignals() []os.Signal { return []os.Signal{syscall.SIGHUP} }
