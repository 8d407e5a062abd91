// Package workertest builds usbkeyd-module for tests that start many module processes: a test
// program that is executed again for each takes five to twenty times as long to start as that, and
// with the race detector a second to end. Tests only. It must not know any module.
package workertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// Build builds the program into a folder. Like a test program, it says of no commit.
func Build(dir string) (path string, err error) {
	path = filepath.Join(dir, "usbkeyd-module")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", path, "github.com/usbkeyd/usbkeyd/cmd/usbkeyd-module").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build usbkeyd-module: %w\n%s", err, out)
	}
	return path, nil
}

// With is a spec whose processes execute the program, which is built once for all tests of a
// package. What is executed is the open file, so that it leaves nothing on disk.
func With(t testing.TB, spec worker.Spec) worker.Spec {
	t.Helper()
	var err error
	if spec.Program, err = program(); err != nil {
		t.Fatal(err)
	}
	return spec
}

var program = sync.OnceValues(func() (_ *worker.Program, err error) {
	dir, err := os.MkdirTemp("", "workertest")
	if err != nil {
		return nil, err
	}
	defer func() {
		if removed := os.RemoveAll(dir); err == nil {
			err = removed
		}
	}()
	path, err := Build(dir)
	if err != nil {
		return nil, err
	}
	return worker.OpenProgram(path)
})
