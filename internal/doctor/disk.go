package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// A job writes some hundred kilobytes. Below enough the operator has time, below least none.
const (
	least  = 64 << 20
	enough = 1 << 30
)

// Disk looks at the room where the state folder is, or will be; the number is in bytes.
func Disk(dir string) Finding {
	f := Finding{Check: "disk space", State: Good, Code: "good"}
	n, err := free(dir)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
		n, err = free(dir)
	}
	if err != nil {
		f.State, f.Code, f.Found, f.Mend = Wrong, "unknown", err.Error(), "See whether the disk of the state folder is there."
		return f
	}
	f.Found = fmt.Sprintf("%d MB are free", n>>20)
	switch {
	case n < least:
		f.State, f.Code, f.Mend = Wrong, "full", fmt.Sprintf("Make room: with less than %d MB jobs are parked.", least>>20)
	case n < enough:
		f.State, f.Code, f.Mend = Note, "low", "Make room soon."
	}
	return f.With(int64(n))
}
