//go:build unix

package main

import (
	"os"
	"syscall"
)

// stopSignals ask for a clean stop.
func stopSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }
