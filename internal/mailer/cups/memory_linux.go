package cups

import (
	"fmt"
	"os/user"

	"golang.org/x/sys/unix"
)

// Supported says why mailers are not printed on this system; nil where they are.
func Supported() error { return nil }

// inMemory wants a folder on tmpfs or ramfs: what CUPS spools must not be found on a disk.
func inMemory(folder string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return fmt.Errorf("CUPS's spool %s: %w", folder, err)
	}
	if s.Type != unix.TMPFS_MAGIC && s.Type != unix.RAMFS_MAGIC {
		return fmt.Errorf("CUPS's spool %s is on a disk, where a PIN could be found later: mount a tmpfs there", folder)
	}
	return nil
}

// userName is who CUPS thinks lp is.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "anonymous"
}
