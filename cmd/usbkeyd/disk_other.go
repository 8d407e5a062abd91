//go:build !linux

package main

// diskFree is how many bytes may be written where a folder is; negative for unknown.
func diskFree(string) int64 { return -1 }
