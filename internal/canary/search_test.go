package canary

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFolderOfAProgramAtWork: a file that is replaced all the time is looked through, and its
// new copy, which is gone when it is to be read, spoils nothing.
func TestFolderOfAProgramAtWork(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "age")
	replace := func() error {
		return errors.Join(os.WriteFile(path+".new", []byte("the secret is 48151623"), 0o600), os.Rename(path+".new", path))
	}
	if err := replace(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		var err error
		for begun := time.Now(); err == nil && time.Since(begun) < 200*time.Millisecond; time.Sleep(50 * time.Microsecond) {
			err = replace()
		}
		ended <- err
	}()
	for {
		var s Search
		s.Add("number", "48151623")
		if err := s.Folder(dir); err != nil {
			t.Fatal(err)
		}
		if s.Files == 0 || len(s.Found) == 0 {
			t.Fatalf("of %d files %v", s.Files, s.Found)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}
