package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

// server is one usbkey-central with the development CA, a process of its own.
type server struct {
	cmd   *exec.Cmd
	log   *os.File
	admin *adminclient.Client
	url   string
}

// startServer starts one on a new data directory and waits until it answers.
func (b *bench) startServer(ctx context.Context, dir string) (*server, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(dir + ".log")
	if err != nil {
		return nil, err
	}
	s := &server{log: log}
	s.cmd = exec.CommandContext(ctx, b.program("usbkey-central"), "--data", dir, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--pin-recipient", b.officers[0].file, "--so-pin-recipient", b.officers[0].file, "--so-pin-recipient", b.officers[1].file)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(dir, central.AddressFile))
		if err == nil {
			var at central.Addresses
			if err := json.Unmarshal(text, &at); err != nil {
				return nil, errors.Join(err, s.stop())
			}
			s.url = at.Station
			if s.admin, err = adminclient.FromDataDir(dir); err != nil {
				return nil, errors.Join(err, s.stop())
			}
			return s, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("the server does not answer; see %s", log.Name()), s.stop())
		}
	}
}

// stop ends it and waits for it, once.
func (s *server) stop() error {
	if s.log == nil {
		return nil
	}
	err := errors.Join(s.cmd.Process.Signal(syscall.SIGTERM), s.cmd.Wait(), s.log.Close())
	s.log = nil
	return err
}
