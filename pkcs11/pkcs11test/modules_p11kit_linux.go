package pkcs11test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// P11Kit is a SoftHSM bay behind p11-kit's remoting: its module asks the server,
// which loads SoftHSM in a process of its own for each client.
type P11Kit struct {
	Bay
	behind Bay
	socket string
	server *exec.Cmd
}

// NewP11Kit makes a bay whose server ends with the test.
func NewP11Kit(t testing.TB) *P11Kit {
	t.Helper()
	behind := NewBay(t)
	socket := filepath.Join(behind.Dir, "p11-kit.socket")
	k := &P11Kit{
		Bay: Bay{
			Path: installed(t, "p11-kit-modules", "/usr/lib/*/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so"),
			Dir:  behind.Dir,
			Env:  map[string]string{"P11_KIT_SERVER_ADDRESS": "unix:path=" + socket},
		},
		behind: behind, socket: socket,
	}
	t.Cleanup(func() { k.Kill(t) })
	k.Serve(t)
	return k
}

// Serve starts the server.
func (k *P11Kit) Serve(t testing.TB) {
	t.Helper()
	server := installed(t, "p11-kit", "/usr/libexec/p11-kit/p11-kit-server", "/usr/lib/p11-kit/p11-kit-server")
	k.server = exec.Command(server, "--foreground", "--name", k.socket, "--provider", k.behind.Path, "pkcs11:")
	k.server.Env = []string{"PATH=" + os.Getenv("PATH"), "SOFTHSM2_CONF=" + k.behind.Env["SOFTHSM2_CONF"]}
	k.server.Stderr = t.Output()
	k.server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end it with the processes that it forks
	if err := k.server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := awaitSocket(t, k.socket).Close(); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server and what serves its clients at once, as a crash would.
func (k *P11Kit) Kill(t testing.TB) {
	t.Helper()
	if k.server == nil {
		return
	}
	if err := syscall.Kill(-k.server.Process.Pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = k.server.Wait() // it ends by the signal
	k.server = nil
}

// P11KitOptions have the conformance suite run through p11-kit's remoting.
func P11KitOptions() Options {
	return Options{NewBay: func(t testing.TB) Bay { return NewP11Kit(t).Bay }, Manufacturer: "PKCS#11 Kit", Quirks: Quirks{NoBlankSlot: true}}
}
