package drop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// look reads what has come, and sets aside what is no answer or one too many.
func (c *CA) look() error {
	if err := c.inbox.look(c.ledger); err != nil {
		return err
	}
	for name, a := range c.inbox.files {
		why, alarm, err := c.unwanted(a)
		if err != nil {
			return err
		}
		if why == "" || a.unfinished && time.Since(a.since) < c.cfg.Patience {
			continue
		}
		to, err := c.setAside(name, why)
		if err != nil {
			return fmt.Errorf("set %s aside: %w", name, err)
		}
		if alarm {
			c.cfg.Logger.Error("ALARM: an answer of the offline CA must be looked into", "file", to, "reason", why)
		} else {
			c.cfg.Logger.Warn("a file from the offline CA is set aside", "file", to, "reason", why)
		}
	}
	return nil
}

// unwanted says why a file is not taken; nothing while it may be.
func (c *CA) unwanted(a *arrival) (why string, alarm bool, err error) {
	if !a.read || a.fault != "" {
		return a.fault, false, nil
	}
	before, err := c.taken(a.entry)
	if err != nil || !before.anything() {
		return "", false, err
	}
	why, alarm = before.again(a)
	return why, alarm, nil
}

// setAside moves a file out of the way, with the reason beside it, and says where
// it is now. The reason is there first: a file without one would puzzle people.
func (c *CA) setAside(name, why string) (string, error) {
	dir := filepath.Join(c.cfg.Dir, "aside")
	to := filepath.Join(dir, name)
	for n := 2; ; n++ {
		f, err := os.OpenFile(to+".why", os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode) // #nosec G302 -- the CA's people read it
		if errors.Is(err, fs.ErrExist) {                                              // an earlier file of this name, or what a crash left
			to = filepath.Join(dir, fmt.Sprintf("%s.%d", name, n))
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = fmt.Fprintf(f, "%s was set aside: %s.\n", name, why)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return "", err
		}
		break
	}
	if err := os.Rename(filepath.Join(c.inbox.dir, name), to); err != nil {
		return "", errors.Join(err, os.Remove(to+".why"))
	}
	delete(c.inbox.files, name)
	return to, errors.Join(syncDir(dir), syncDir(c.inbox.dir))
}
