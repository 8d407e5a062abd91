package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestModuleProgram looks for the program of modules' processes where it is put.
func TestModuleProgram(t *testing.T) {
	for _, place := range []string{"bin/usbkeyd-module", "lib/usbkeyd/usbkeyd-module"} {
		prefix := t.TempDir()
		self, path := filepath.Join(prefix, "bin", "usbkeyd"), filepath.Join(prefix, place)
		if p, err := moduleProgram(self); err != nil || p != nil {
			t.Fatalf("nothing is there: %v, %v", p, err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
		if p, err := moduleProgram(self); err != nil || p == nil {
			t.Errorf("%s is not found: %v", place, err)
		}
	}
}
