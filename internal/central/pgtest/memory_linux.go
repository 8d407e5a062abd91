package pgtest

import "golang.org/x/sys/unix"

// memory is a folder in memory with room for the databases of some tests at once; "" where there
// is none. A database is some three hundred files and 8 MB, and making and removing them on a disk
// takes more than what tests ask of it.
func memory() string {
	const dir, room = "/dev/shm", 1 << 30
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil || s.Type != unix.TMPFS_MAGIC || s.Bavail*uint64(s.Bsize) < room {
		return ""
	}
	return dir
}
