//go:build unix

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Folder looks at the rights of the state folder and of the files in it.
func Folder(dir string) Finding {
	f := Finding{Check: "state folder", State: Good, Code: "good", Found: dir}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		f.State, f.Code, f.Mend = Note, "missing", "It is made when the daemon starts for the first time."
		return f
	}
	if err != nil {
		return unreadable(f, err)
	}
	if !info.IsDir() {
		f.State, f.Code, f.Mend = Wrong, "no-folder", "Put a folder in its place, or change stateDir."
		return f
	}
	owner := ownerOf(info)
	if uid := os.Geteuid(); uid != 0 && owner != uint32(uid) {
		f.State, f.Code, f.Mend = Wrong, "other-owner", "Run this as the user whom the folder belongs to: the one that the daemon runs as."
		return f
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // SQLite's log comes and goes beside a daemon
		}
		if err != nil {
			return err
		}
		// What holds secrets: the folder itself and the files in it. What lies deeper is shut by the folder.
		if path != dir && d.IsDir() {
			return fs.SkipDir
		}
		if d.Type()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 && f.State == Good {
			f.State, f.Code = Wrong, "open-to-others"
			f.Found = fmt.Sprintf("%s has mode %04o", path, info.Mode().Perm())
			f.Mend = fmt.Sprintf("chmod go= %s, and find out who could read it.", path)
		}
		if ownerOf(info) != owner && f.State == Good {
			f.State, f.Code = Wrong, "mixed-owners"
			f.Found = fmt.Sprintf("%s belongs to user %d, the folder to %d", path, ownerOf(info), owner)
			f.Mend = fmt.Sprintf("chown %d %s. Run the daemon and its commands as one user.", owner, path)
		}
		return nil
	})
	if err != nil {
		return unreadable(f, err)
	}
	return f
}

func unreadable(f Finding, err error) Finding {
	f.State, f.Code, f.Found = Wrong, "unreadable", err.Error()
	f.Mend = "Run this as the user that the daemon runs as."
	return f
}

func ownerOf(info os.FileInfo) uint32 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Uid
	}
	return 0
}

// free is how much an ordinary user can still write beside a path, in bytes.
func free(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil // signed on some systems
}

// CoreDumps looks whether this process, which must have shut itself in, can leave one.
func CoreDumps() Finding {
	f := Finding{Check: "core dumps", State: Good, Code: "good", Found: "off"}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		f.State, f.Code = Wrong, "possible"
		f.Found = fmt.Sprintf("the limit is %d (%v)", limit.Cur, err)
		f.Mend = "Set LimitCORE=0 in the unit, and see what keeps the program from lowering its own limit."
	}
	return f
}
