package console

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWriteLink: only this account can read the file, a link that somebody else put in its
// place is not followed, and the secret is in the fragment, whole.
func TestWriteLink(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new")
	const link = "http://127.0.0.1:8470/#link=abc_DEF-123"
	for range 2 { // the second takes the place of the first
		path, err := WriteLink(folder, link)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		data, err := os.ReadFile(path)
		if err != nil || strings.Count(string(data), link) != 2 {
			t.Errorf("%v: %s", err, data)
		}
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		elsewhere := filepath.Join(t.TempDir(), "elsewhere")
		if err := os.WriteFile(elsewhere, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, path); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if data, err := os.ReadFile(elsewhere); err != nil || string(data) != "x" {
				t.Errorf("the link was followed: %q, %v", data, err)
			}
		}()
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
