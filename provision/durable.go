package provision

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// WriteDurably writes a small file (0600) as a whole: after a crash at any moment
// path holds what it held before, or all of data, and once this returns nil it is
// data for good. Only one process at a time may write to path.
func WriteDurably(path string, data []byte) error {
	// The name is always the same, so that crashes leave at most one such file.
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		crashpoint.Before(crashpoint.StateFile)
		err = os.Rename(next, path)
		crashpoint.After(crashpoint.StateFile)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return syncDir(filepath.Dir(path))
}
