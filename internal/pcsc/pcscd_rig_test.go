//go:build rig

package pcsc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// probeFor makes the test binary ask pcscd for each line of its input.
const probeFor = "USBKEYD_TEST_PROBE"

func TestMain(m *testing.M) {
	if os.Getenv(probeFor) == "" {
		os.Exit(m.Run())
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		fmt.Println(in.Text(), verdict(Probe(ctx, Socket(nil))))
		cancel()
	}
}

func verdict(err error) string {
	for _, kind := range []Sentinel{ErrNotRunning, ErrStuck, ErrRefused, ErrNonsense} {
		if errors.Is(err, kind) {
			return string(kind)
		}
	}
	if err != nil {
		return err.Error()
	}
	return "answers"
}

// TestARealPCSCD starts, stops (SIGSTOP), continues and ends the real pcscd in a
// mount namespace of its own, where /run is empty.
func TestARealPCSCD(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("pcscd"); err != nil {
		t.Fatalf("apt-get install pcscd: %v", err)
	}
	script := strings.Join([]string{
		"set -eu",
		"mount -t tmpfs tmpfs /run && mkdir /run/pcscd",
		"ask() { echo $1 | " + probeFor + "=1 " + self + "; }",
		"ask before",
		"pcscd --foreground >/run/log 2>&1 & daemon=$!",
		"trap 'kill -KILL $daemon 2>/dev/null || true' EXIT",
		"for i in $(seq 100); do [ -S /run/pcscd/pcscd.comm ] && break; sleep 0.05; done",
		"ask running",
		"kill -STOP $daemon; ask stopped",
		"kill -CONT $daemon; ask continued",
		"kill -TERM $daemon; wait $daemon || true",
		"ask ended",
		"! grep mismatch /run/log",
	}, "\n")
	args := []string{"--mount", "bash", "-c", script}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	out, err := exec.CommandContext(t.Context(), "unshare", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "before pcscd is not running\nrunning answers\nstopped pcscd does not answer\ncontinued answers\nended pcscd is not running\n"
	if string(out) != want {
		t.Errorf("got:\n%swant:\n%s", out, want)
	}
}
