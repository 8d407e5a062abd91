//go:build unix

package central

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir keeps a second server out of a data directory: two issuers on one store
// could ask the CA twice. The lock goes with the process.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // the lock was not had
		return nil, fmt.Errorf("the data directory %s is in use by another server: stop that one, or use another directory", dir)
	}
	return f.Close, nil
}
