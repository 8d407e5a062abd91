package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatACrashLeftOfTheStateFolder: files without a byte are made anew as long as
// there is no journal, and are an error beside one.
func TestWhatACrashLeftOfTheStateFolder(t *testing.T) {
	dir := t.TempDir()
	empty := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	empty("journal.key")
	empty("instance-id")
	st, err := openState(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := st.instanceID
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err = openState(dir, nil); err != nil {
		t.Fatal(err)
	}
	if st.instanceID != id {
		t.Errorf("the installation was %s and is %s", id, st.instanceID)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	empty("instance-id")
	if _, err := openState(dir, nil); err == nil || !strings.Contains(err.Error(), "does not hold this installation's id") {
		t.Errorf("an empty id beside a journal: %v", err)
	}
}

// TestInstanceIDIsWrittenWhole: where it cannot be, nothing is there.
func TestInstanceIDIsWrittenWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "instance-id")
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if id, err := instanceID(path, true); err == nil {
		t.Errorf("made %s all the same", id)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a part of it is there")
	}
}
