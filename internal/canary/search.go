package canary

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Search looks for secrets and counts what it has looked through.
type Search struct {
	secrets []secret
	// Files, Bytes and Processes were looked through.
	Files, Processes int
	Bytes            int64
	// Found says where which secret stands, in which form, and never the secret.
	Found []string
}

type secret struct {
	whose string
	forms []Form
}

// Add has a secret looked for from now on; whose says what it is.
func (s *Search) Add(whose, value string) {
	s.secrets = append(s.secrets, secret{whose, Forms(value)})
}

// Secrets is how many are looked for.
func (s *Search) Secrets() int { return len(s.secrets) }

// Forms is in how many forms they are looked for, all together.
func (s *Search) Forms() int {
	n := 0
	for _, one := range s.secrets {
		n += len(one.forms)
	}
	return n
}

// In looks through bytes that stand at the named place.
func (s *Search) In(where string, data []byte) {
	s.Bytes += int64(len(data))
	for _, one := range s.secrets {
		for _, f := range one.forms {
			if bytes.Contains(data, f.Bytes) {
				s.Found = append(s.Found, fmt.Sprintf("%s holds the %s (%s)", where, one.whose, f.Name))
			}
		}
	}
}

// Folder looks through every regular file below a folder, and through the names of all;
// not below those left out, in which secrets may be. A program may be at work in it: if what
// is listed is gone when it is to be read, all is looked through again.
func (s *Search) Folder(root string, leftOut ...string) error {
	const tries = 20
	for n := 1; ; n++ {
		before := *s
		err := s.once(root, leftOut)
		if n == tries || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		*s = before
	}
}

func (s *Search) once(root string, leftOut []string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains(leftOut, path) {
			return fs.SkipDir
		}
		s.In("a file name in "+filepath.Dir(path), []byte(d.Name()))
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s.Files++
		s.In(path, data)
		return nil
	})
}
