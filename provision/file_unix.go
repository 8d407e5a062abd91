//go:build unix

package provision

import (
	"fmt"
	"os"
)

// onlyOwnerReads refuses a secret file that group or others may read.
func onlyOwnerReads(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s may be read by others (mode %04o): run chmod 600 on it", path, info.Mode().Perm())
	}
	return nil
}

// syncDir makes a new name in the folder durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}
