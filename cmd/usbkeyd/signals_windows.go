package main

import "os"

// stopSignals ask for a clean stop; the service manager has a way of its own.
func stopSignals() []os.Signal { return []os.Signal{os.Interrupt} }

// reloadSignals: there is none; the service is restarted.
func reloadSignals() []os.Signal { return nil }
