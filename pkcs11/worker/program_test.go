//go:build !windows

package worker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// anotherBuild is the path of the module that a program of another build is started for.
const anotherBuild = "/of/another/build"

// actAsAnotherBuild makes this process, when it is started for that module, a child of
// another build.
func actAsAnotherBuild() {
	if len(os.Args) < 2 || os.Args[1] != anotherBuild {
		return
	}
	if err := worker.HelloOfAnotherBuild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(0)
}

// program is a copy of this program in a folder of its own.
func program(t *testing.T) (*worker.Program, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "modules")
	if err := os.Link(self, path); err != nil { // across file systems it is a copy
		data, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p, err := worker.OpenProgram(path)
	if err != nil {
		t.Fatal(err)
	}
	return p, path
}

func TestProgramOfItsOwn(t *testing.T) {
	p, path := program(t)
	spec := worker.Spec{Path: probePath, Trust: worker.TrustUnchecked, Program: p}
	child := start(t, spec)
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", child.PID())); err == nil && exe != path {
		t.Errorf("the child executes %s, not %s", exe, path)
	}
	// A package puts another file there while the daemon runs.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	start(t, spec)
}

func TestProgramOfAnotherBuildIsRefused(t *testing.T) {
	p, path := program(t)
	child, err := worker.Start(t.Context(), worker.Spec{Path: anotherBuild, Trust: worker.TrustUnchecked, Program: p})
	if err == nil {
		_ = child.Close()
		t.Fatal("a child of another build is spoken to")
	}
	for _, want := range []string{path, "v0.0.1", "install both from the same package"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}
