package main

import "golang.org/x/sys/unix"

// diskFree is how many bytes may be written where a folder is; negative for unknown.
func diskFree(dir string) int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return -1
	}
	return int64(s.Bavail) * s.Bsize
}
