//go:build unix

package config

import (
	"fmt"
	"os"
)

// checkMode refuses a file that group or others may touch.
func checkMode(info os.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("mode is %04o: group and others must have no access (chmod 600)", mode)
	}
	return nil
}
