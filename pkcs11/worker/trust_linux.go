package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is as many symbolic links as the kernel follows (path_resolution(7)).
const maxLinks = 40

// untrusted follows path, link by link, and says who else could change the file or
// exchange it on the way; "" when nobody can.
func untrusted(path string, trust Trust) string {
	if !filepath.IsAbs(path) {
		return "the path must be absolute"
	}
	rest := strings.Split(filepath.Clean(path), "/")[1:]
	at, links := "/", 0
	if why := changeable(at, trust); why != "" {
		return why
	}
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "there is no such file"
		case err != nil:
			return err.Error()
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if why := changeable(next, trust); why != "" {
				return why
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "too many symbolic links"
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err.Error()
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(strings.Trim(filepath.Clean(target), "/"), "/"), rest...)
	}
	return ""
}

// changeable says why one file or folder can be changed by others.
func changeable(path string, trust Trust) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Sprintf("the system does not say whose %s is", path)
	}
	if st.Uid != 0 && (trust != TrustOwner || int(st.Uid) != os.Geteuid()) {
		return fmt.Sprintf("%s belongs to user %d, not to root: whoever that is could exchange the module (chown it to root, or set trust: owner)", path, st.Uid)
	}
	// In a sticky folder such as /tmp others can add names, but not exchange ours.
	sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0
	if info.Mode().Perm()&0o022 != 0 && !sticky {
		return fmt.Sprintf("%s can be written by others (mode %04o): run chmod go-w on it", path, info.Mode().Perm())
	}
	return ""
}

func openModule(path string) (*os.File, error) { return os.Open(path) }

// byDescriptor is a path that leads to the open file itself, as long as that is kept.
func byDescriptor(f *os.File, _ string) (load string, keep *os.File) {
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), f
}
