package crashmatrix

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// patience is how long a process may take for what it was started for. A cell takes
// a second or two; the machine may be busy.
const patience = 40 * time.Second

// build makes both programs with their crash points, once for all cells.
var build = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp(memory(), "crashmatrix-bin-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-tags", "crashpoints", "-o", dir+"/", "./cmd/usbkeyd", "./cmd/usbkey-central")
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

// process is one run of a program.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of its end, once ended is closed
}

// launch starts a program that dies at the point, if there is one, and traces what it
// passes. Its output goes to the log; ready, if not nil, is waited for in a line of it.
func launch(t testing.TB, name, log, trace string, at *point, ready func(line string) bool, args ...string) *process {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p := &process{cmd: exec.CommandContext(t.Context(), filepath.Join(dir, name), args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), crashpoint.Trace+"="+trace)
	if at != nil {
		p.cmd.Env = append(p.cmd.Env, crashpoint.KillAt+"="+at.String())
	}
	p.cmd.Stderr = f
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(out)
		for seen := ready == nil; lines.Scan(); {
			if !seen && ready(lines.Text()) {
				seen = true
				close(started)
			}
		}
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended, if all went well
		<-p.ended
	})
	if ready != nil {
		select {
		case <-started:
		case <-p.ended:
		case <-time.After(patience):
			t.Fatalf("%s did not get ready\n%s", name, tail(log))
		}
	}
	return p
}

// wait waits for the end; an error says how it was not a clean one.
func (p *process) wait() error {
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		return errors.New("it did not end")
	}
}

// stop ends a process as an operator does.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.wait()
}

// killed waits and reports whether it has died of SIGKILL.
func (p *process) killed() bool {
	var exit *exec.ExitError
	if err := p.wait(); !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// alive reports whether it still runs.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// tail is the end of a log, for a failure.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.SplitAfter(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "")
}
