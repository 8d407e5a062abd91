//go:build !linux

package pgtest

// memory is a folder in memory: none is known.
func memory() string { return "" }
