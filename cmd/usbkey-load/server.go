package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

// ticksPerSecond is the unit of times in /proc/PID/stat (USER_HZ, proc(5)); it is the
// same on every Linux that Go runs on.
const ticksPerSecond = 100

// server is one usbkey-central, a process of its own.
type server struct {
	program string
	dir     string
	args    []string
	listen  string
	cmd     *exec.Cmd
	log     *os.File
	admin   *adminclient.Client
	url     string
}

// start starts it and waits until it answers; after a stop it is at the same address again.
func (s *server) start(ctx context.Context) error {
	var err error
	if s.log, err = os.OpenFile(s.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	addresses := filepath.Join(s.dir, central.AddressFile)
	if err := os.Remove(addresses); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.cmd = exec.CommandContext(ctx, s.program, append([]string{"--data", s.dir, "serve", "--listen", s.listen, "--admin-listen", "127.0.0.1:0"}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(addresses)
		if err == nil {
			var at central.Addresses
			if err := json.Unmarshal(text, &at); err != nil {
				return err
			}
			s.url = at.Station
			u, err := url.Parse(at.Station)
			if err != nil {
				return err
			}
			s.listen = u.Host
			s.admin, err = adminclient.FromDataDir(s.dir)
			return err
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("the server does not answer; see %s", s.log.Name())
		}
	}
}

// stop ends it, at once or in its own way.
func (s *server) stop(how os.Signal) error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Signal(how)
	waited := s.cmd.Wait()
	s.cmd = nil
	var ended *exec.ExitError
	if errors.As(waited, &ended) && how == syscall.SIGKILL {
		waited = nil
	}
	return errors.Join(err, waited, s.log.Close())
}

// resident is how much memory the process has, in bytes.
func (s *server) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc does not tell the server's memory")
}

// cpu is how much processor time the process has had.
func (s *server) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The fields after the program's name in parentheses; utime and stime are the 14th and 15th of all.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond, errors.Join(err1, err2)
}

// ownCPU is how much processor time this process has had.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// loadAverage is how many processes wanted a processor in the last minute.
func loadAverage() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.Fields(string(text))[0], 64)
}
