//go:build !profile

package main

// profiled does nothing: nobody can look into a server that is not built for it.
func profiled() {}
