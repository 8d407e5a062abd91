package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker/workertest"
)

// runMain makes the test binary be usbkeyd itself, for tests that need a process.
const runMain = "USBKEYD_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" || len(os.Args) > 0 && !strings.HasSuffix(filepath.Base(os.Args[0]), ".test") {
		main() // enters a module's process, too
		return
	}
	worker.ServeIfChild(cryptoki.Open)
	if err := besideThis(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	envelope.ChooseAES256()
	os.Exit(m.Run())
}

// besideThis puts the program for modules' processes where a daemon looks for it. The folder is
// removed by go test, which made it.
func besideThis() error {
	self, err := os.Executable()
	if err == nil {
		_, err = workertest.Build(filepath.Dir(self))
	}
	return err
}

// station is a configured station beside a real central server.
type station struct {
	*stationtest.Station
	t testing.TB
}

func newStation(t testing.TB, bays int, algorithm string) *station {
	t.Helper()
	return newStationAt(t, centraltest.New(t, nil), bays, algorithm)
}

// newStationAt is a station of the given central server.
func newStationAt(t testing.TB, at *centraltest.Central, bays int, algorithm string) *station {
	t.Helper()
	return &station{stationtest.New(t, &at.Access, t.TempDir(), bays, algorithm, ""), t}
}

// notShutIn is for commands that run in the tests' own process.
func notShutIn() error { return nil }

// command runs usbkeyd in this process and returns its exit code and output.
func (s *station) command(args ...string) (code int, out, errOut string) {
	s.t.Helper()
	return s.commandIn(wording.Words{}, args...)
}

// commandIn is command in a language.
func (s *station) commandIn(words wording.Words, args ...string) (code int, out, errOut string) {
	s.t.Helper()
	var o, e bytes.Buffer
	code = execute(append([]string{"--config", s.Config}, args...), strings.NewReader(""), &o, &e, words, notShutIn)
	return code, o.String(), e.String()
}

// must is command for one that ends well; it returns what that has printed.
func (s *station) must(args ...string) string {
	s.t.Helper()
	code, out, errOut := s.command(args...)
	if code != exitOK {
		s.t.Fatalf("usbkeyd %s: exit code %d: %s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// start runs usbkeyd in a process of its own.
func (s *station) start(ctx context.Context, log string, args ...string) *exec.Cmd {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.startProgram(ctx, self, log, args...)
}

func (s *station) startProgram(ctx context.Context, program, log string, args ...string) *exec.Cmd {
	s.t.Helper()
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	cmd := exec.CommandContext(ctx, program, append([]string{"--config", s.Config}, args...)...)
	cmd.Env = append(os.Environ(), runMain+"=1")
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return cmd
}
