package pkcs11test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// FactorySOPIN is the SO PIN of openCryptoki's soft token as it comes; C_InitToken
// asks for it and leaves it.
const FactorySOPIN = "87654321"

// insideOpenCryptoki names, in the environment of a test that runs in namespaces of
// its own, the file in which it tells that it came to its end.
const insideOpenCryptoki = "PKCS11TEST_INSIDE_OPENCRYPTOKI"

// openCryptokiFolders hold what openCryptoki 3.8.1 keeps on a machine: its
// configuration, its tokens, its socket and locks, and the memory that processes
// share by name. pkcsslotd shares more by a System V key, hence the IPC namespace.
func openCryptokiFolders() []string {
	return []string{openCryptokiConfig, openCryptokiTokens, "/run", "/dev/shm"}
}

// ours is the name of the file that marks each of them as mounted by again.
const ours = "pkcs11test"

const (
	openCryptokiConfig = "/etc/opencryptoki"
	openCryptokiTokens = "/var/lib/opencryptoki"
	openCryptokiLocks  = "/run/lock/opencryptoki"
	openCryptokiSocket = "/run/pkcsslotd.socket"
)

// InOpenCryptoki runs body where openCryptoki can be used without touching the
// machine's: the test binary executes the calling test once more, as root in mount,
// IPC and process namespaces in which those folders are empty and in memory, and
// there body runs. Its bays come from NewOpenCryptoki. All that it starts ends with
// it. What a test does before the call is done twice.
func InOpenCryptoki(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if report := os.Getenv(insideOpenCryptoki); report != "" {
		body(t)
		if t.Failed() || t.Skipped() {
			return
		}
		if err := os.WriteFile(report, []byte(t.Name()), 0o600); err != nil {
			t.Error(err)
		}
		return
	}
	OpenCryptoki(t)
	if os.Geteuid() != 0 {
		t.Fatal("pkcsslotd and its namespaces need root: run the test as root")
	}
	report := filepath.Join(t.TempDir(), "passed")
	cmd := again(t)
	cmd.Env = append(os.Environ(), insideOpenCryptoki+"="+report)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Fatalf("inside its namespaces: %v", err)
	}
	// A test that was not found there passes too, without having run.
	if name, err := os.ReadFile(report); err != nil || string(name) != t.Name() {
		t.Fatalf("the test did not come to its end inside its namespaces: %v", err)
	}
}

// again is the command that executes this test, and no other, in namespaces.
func again(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mounts := "set -eu; for folder in " + strings.Join(openCryptokiFolders(), " ") +
		`; do mount -t tmpfs -o mode=0755 tmpfs "$folder"; : >"$folder/` + ours + `"; done; exec "$@"`
	args := []string{
		"--mount", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child",
		"sh", "-c", mounts, "sh", self, "-test.run", onlyThis(t.Name()), "-test.count=1",
	}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	if end, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+time.Until(end).String())
	}
	return exec.CommandContext(t.Context(), "unshare", args...)
}

// onlyThis is the pattern of -test.run for one test or subtest.
func onlyThis(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// OpenCryptoki is the absolute path of openCryptoki's module.
func OpenCryptoki(t testing.TB) string {
	t.Helper()
	return installed(t, "opencryptoki", "/usr/lib/*/pkcs11/libopencryptoki.so", "/usr/lib64/pkcs11/libopencryptoki.so")
}

// NewOpenCryptoki makes a bay of soft tokens as from the factory, one for each slot
// description. It is for the body of InOpenCryptoki, and there is one at a time: it
// takes the place of the one before.
func NewOpenCryptoki(t testing.TB, slots ...string) Bay {
	t.Helper()
	for _, folder := range openCryptokiFolders() {
		empty(t, folder)
	}
	if err := os.MkdirAll(openCryptokiLocks, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := "version opencryptoki-3.1\n"
	for i, description := range slots {
		name := fmt.Sprintf("soft%d", i)
		conf += fmt.Sprintf("slot %d\n{\nstdll = libpkcs11_sw.so\ndescription = %q\ntokname = %s\n}\n", i, description, name)
		for _, folder := range []string{filepath.Join(openCryptokiTokens, name, "TOK_OBJ"), filepath.Join(openCryptokiLocks, name)} {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(openCryptokiConfig, "opencryptoki.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	startSlotDaemon(t)
	return Bay{Path: OpenCryptoki(t), Dir: openCryptokiTokens}
}

// empty empties a folder of ours. The machine's own, which a mistaken environment
// could lead to, do not have the mark.
func empty(t testing.TB, folder string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(folder, ours)); err != nil {
		t.Fatalf("%s is the machine's own, call InOpenCryptoki first: %v", folder, err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() == ours {
			continue
		}
		if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// startSlotDaemon starts pkcsslotd for as long as the test runs. It serves when its
// socket accepts.
func startSlotDaemon(t testing.TB) {
	t.Helper()
	d := exec.Command(installed(t, "opencryptoki", "/usr/sbin/pkcsslotd"), "-f")
	d.Stdout, d.Stderr = t.Output(), t.Output()
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Asked, not killed: it removes the shared memory that the next one makes anew.
		if err := d.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = d.Wait() // it ends by the signal
	})
	// It tells whoever connects of its slots, and dies of SIGPIPE when that one does not listen.
	c := awaitSocket(t, openCryptokiSocket)
	_, copied := io.Copy(io.Discard, c)
	if err := errors.Join(copied, c.Close()); err != nil {
		t.Fatal(err)
	}
}

// OpenCryptokiOptions have the conformance suite run over soft tokens, in the body of
// InOpenCryptoki.
func OpenCryptokiOptions(t testing.TB) Options {
	t.Helper()
	rsa, err := pkcs11.AlgorithmByName("rsa2048")
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Algorithms:   []pkcs11.Algorithm{rsa},
		NewBay:       func(t testing.TB) Bay { return NewOpenCryptoki(t, "soft token A", "soft token B") },
		Manufacturer: "IBM",
		Quirks: Quirks{
			FactorySOPIN: FactorySOPIN, InitBreaksSOPIN: true, ConstantSerial: "123", NoBlankSlot: true, NoEC: true, OneLogin: true,
		},
	}
}
