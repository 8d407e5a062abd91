// Package winerig is a Windows for tests: programs that mingw-w64 builds, a PKCS#11 module
// among them, run under wine on the machine that tests them. It must not know what they do.
package winerig

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

//go:embed c
var source embed.FS

const (
	compiler = "x86_64-w64-mingw32-gcc"
	wine     = "/usr/lib/wine/wine64" // where Debian puts it
	server   = "/usr/lib/wine/wineserver64"
)

// Rig is a Windows that nothing was installed on.
type Rig struct {
	C   string // the folder that is its drive C:
	env []string
}

// Start makes a Windows, some seconds' work, that ends with the test.
func Start(t testing.TB) Rig {
	t.Helper()
	for _, program := range []string{compiler, wine, server} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing (apt-get install --no-install-recommends gcc-mingw-w64-x86-64 wine64): %v", program, err)
		}
	}
	home := t.TempDir()
	prefix := filepath.Join(home, "prefix")
	r := Rig{C: filepath.Join(prefix, "drive_c"), env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "WINEPREFIX=" + prefix, "WINEARCH=win64", "WINEDEBUG=-all",
		// No browser, no .NET, and nothing in the menus of a desktop.
		"WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=",
	}}
	t.Cleanup(func() { // before the folder goes
		stop := exec.Command(server, "-k", "-w")
		stop.Env = r.env
		if out, err := stop.CombinedOutput(); err != nil {
			t.Logf("the end of wine: %v\n%s", err, out)
		}
	})
	boot := r.command(t.Context(), wine, "wineboot", "--init")
	// Its server stays, and has the output open.
	if out, err := boot.CombinedOutput(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("wineboot: %v\n%s", err, out)
	}
	r.compile(t, "bcryptprimitives.c", `windows\system32\bcryptprimitives.dll`, "-ladvapi32")
	return r
}

// Path is where a path on drive C: is in this system.
func (r Rig) Path(path string) string {
	return filepath.Join(r.C, strings.ReplaceAll(path, `\`, "/"))
}

func (r Rig) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, args...)
	c.Env = r.env
	if _, err := os.Stat(r.C); err == nil {
		c.Dir = r.C // it is made by the first program
	}
	c.WaitDelay = 5 * time.Second // a process that is left behind has its output open
	return c
}

// compile makes a DLL of one of the sources here.
func (r Rig) compile(t testing.TB, name, path string, libraries ...string) {
	t.Helper()
	text, err := source.ReadFile("c/" + name)
	if err != nil {
		t.Fatal(err)
	}
	to := r.Path(path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	cc := exec.CommandContext(t.Context(), compiler, append([]string{"-Wall", "-Werror", "-O1", "-shared", "-s", "-static-libgcc", "-x", "c", "-", "-o", to}, libraries...)...)
	cc.Stdin = bytes.NewReader(text)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Module puts the PKCS#11 module at a path on drive C:. c/module.c says what may stand beside it.
func (r Rig) Module(t testing.TB, path string) {
	t.Helper()
	r.compile(t, "module.c", path)
}

// Build puts a program of a Go package at a path on drive C:, and BuildTests its tests.
func (r Rig) Build(t testing.TB, pkg, path string) {
	t.Helper()
	r.golang(t, "build", "-o", r.Path(path), pkg)
}

// BuildTests is told above.
func (r Rig) BuildTests(t testing.TB, pkg, path string) {
	t.Helper()
	r.golang(t, "test", "-c", "-o", r.Path(path), pkg)
}

func (r Rig) golang(t testing.TB, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=1", "GOOS=windows", "GOARCH=amd64", "CC="+compiler, "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go %s for Windows: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Run runs a program of drive C:, with more in its environment, to its end and gives what it wrote and its exit code, of
// which Unix has eight bits.
func (r Rig) Run(t testing.TB, env []string, program string, args ...string) (out, errOut string, code int) {
	t.Helper()
	c := r.command(t.Context(), wine, append([]string{`C:\` + program}, args...)...)
	c.Env = append(c.Env, env...)
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() < 0) {
		t.Fatalf("%s: %v\n%s", program, err, &stderr)
	}
	return stdout.String(), stderr.String(), c.ProcessState.ExitCode()
}
