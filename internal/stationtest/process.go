package stationtest

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a process may take to get ready or to end; the machine may be busy.
const patience = 60 * time.Second

// Process is one run of a program, which ends with the test at the latest.
type Process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error // of its end, once ended is closed
}

// Launch starts a program with more in its environment and its errors in a log, and waits until a
// line of its standard output makes it ready, nil for at once, or it has ended, which the caller
// looks for.
func Launch(t testing.TB, program, log string, env []string, ready func(line string) bool, args ...string) *Process {
	t.Helper()
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p := &Process{cmd: exec.CommandContext(t.Context(), program, args...), log: log, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
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
			t.Fatalf("%s did not get ready\n%s", program, Tail(log))
		}
	}
	return p
}

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Tail is the end of its log.
func (p *Process) Tail() string { return Tail(p.log) }

// Err says how it was no clean end, once it has ended.
func (p *Process) Err() error {
	if p.Alive() {
		return nil
	}
	return p.err
}

// Wait waits for the end; an error says how it was not a clean one.
func (p *Process) Wait() error {
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		return errors.New("it did not end")
	}
}

// Signal sends a signal, to it alone: never to another that has its number now.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// End sends a signal and waits.
func (p *Process) End(s syscall.Signal) error {
	if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.Wait()
}

// Stop ends a process as an operator does.
func (p *Process) Stop() error { return p.End(syscall.SIGTERM) }

// Killed waits and reports whether it has died of SIGKILL.
func (p *Process) Killed() bool {
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Alive reports whether it still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Tail is the end of a log, for a failure.
func Tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.SplitAfter(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "")
}
