package crashmatrix

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// patience is how long a process may take for what it was started for. A cell takes
// a second or two; the machine may be busy.
const patience = 40 * time.Second

// build makes all programs with their crash points, once for all cells.
var build = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp(memory(), "crashmatrix-bin-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-tags", "crashpoints", "-o", dir+"/", "./cmd/usbkeyd", "./cmd/usbkeyd-module", "./cmd/usbkey-central")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

// memory is where files are kept in memory, if there is such a place.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func TestMain(m *testing.M) {
	status := m.Run()
	programs, _ := build()
	server, _ := blankServer()
	if err := errors.Join(os.RemoveAll(programs), os.RemoveAll(filepath.Dir(server))); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// launch starts a program that dies at the point, if there is one, and traces what it
// passes. Its output goes to the log; ready, if not nil, is waited for in a line of it.
func launch(t testing.TB, name, log, trace string, at *point, ready func(line string) bool, args ...string) *stationtest.Process {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{crashpoint.Trace + "=" + trace}
	if at != nil {
		env = append(env, crashpoint.KillAt+"="+at.String())
	}
	return stationtest.Launch(t, filepath.Join(dir, name), log, env, ready, args...)
}
