package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// build makes both programs as they are delivered.
var build = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("/dev/shm", "soak-bin-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/usbkeyd", "./cmd/usbkeyd-module", "./cmd/usbkey-central")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	programs, _ := build()
	if err := os.RemoveAll(programs); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// launch starts one of them; it must get ready.
func launch(t testing.TB, name, log string, ready func(line string) bool, args ...string) *stationtest.Process {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	p := stationtest.Launch(t, filepath.Join(dir, name), log, nil, ready, args...)
	if ready != nil && !p.Alive() {
		t.Fatalf("%s ended: %v\n%s", name, p.Err(), p.Tail())
	}
	return p
}
