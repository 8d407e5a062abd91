//go:build !windows

package worker_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// TestWhoseModuleIsLoaded puts a module that works into places where somebody
// could exchange it. It needs no root: what a user may own is set by the trust.
func TestWhoseModuleIsLoaded(t *testing.T) {
	rows := []struct {
		name  string
		place func(t *testing.T, dir, module string) string // returns the path to load
		want  string                                        // in the error; "" when it is loaded
	}{
		{"in order", func(_ *testing.T, _, module string) string { return module }, ""},
		{"written by a group", func(t *testing.T, _, module string) string { return chmod(t, module, 0o775) }, "can be written by others"},
		{"written by everybody", func(t *testing.T, _, module string) string { return chmod(t, module, 0o757) }, "can be written by others"},
		{"in a folder of everybody", func(t *testing.T, dir, module string) string { chmod(t, dir, 0o777); return module }, "can be written by others"},
		{"in a sticky folder of everybody", func(t *testing.T, dir, module string) string {
			chmod(t, dir, os.ModeSticky|0o777)
			return module
		}, ""},
		{"by a link", func(t *testing.T, dir, module string) string { return link(t, module, filepath.Join(dir, "link.so")) }, ""},
		{"by a link through a folder of everybody", func(t *testing.T, dir, module string) string {
			open := filepath.Join(dir, "open")
			if err := os.Mkdir(open, 0o700); err != nil {
				t.Fatal(err)
			}
			second := link(t, module, filepath.Join(open, "second.so"))
			chmod(t, open, 0o777)
			return link(t, second, filepath.Join(dir, "first.so"))
		}, "open can be written by others"},
		{"links in a circle", func(t *testing.T, dir, _ string) string {
			a, b := filepath.Join(dir, "a.so"), filepath.Join(dir, "b.so")
			link(t, a, b)
			return link(t, b, a)
		}, "too many symbolic links"},
		{"not there", func(_ *testing.T, dir, _ string) string { return filepath.Join(dir, "gone.so") }, "there is no such file"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bay := pkcs11test.NewBay(t)
			dir := t.TempDir()
			chmod(t, dir, 0o755)
			module := copyModule(t, bay.Path, dir)
			loads(t, worker.Spec{Path: row.place(t, dir, module), Env: bay.Env, Trust: worker.TrustOwner}, row.want)
		})
	}
}

// TestTrustRootWantsRoot: what belongs to somebody else is not loaded by default.
func TestTrustRootWantsRoot(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	dir := t.TempDir()
	module := copyModule(t, bay.Path, dir)
	if os.Geteuid() == 0 {
		if err := os.Chown(module, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	loads(t, worker.Spec{Path: module, Env: bay.Env}, "not to root")
	loads(t, worker.Spec{Path: bay.Path, Env: bay.Env}, "") // a system's package is root's
}

func TestPinnedModule(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	data, err := os.ReadFile(bay.Path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	loads(t, worker.Spec{Path: bay.Path, Env: bay.Env, SHA256: hex.EncodeToString(sum[:])}, "")
	sum[0] ^= 1
	loads(t, worker.Spec{Path: bay.Path, Env: bay.Env, SHA256: hex.EncodeToString(sum[:])}, "not the configured "+hex.EncodeToString(sum[:]))
}

// TestPinnedModuleWithCompanions: a vendor's library that names others beside itself is
// loaded with a pin when it is root's; else the error says what is in the way.
func TestPinnedModuleWithCompanions(t *testing.T) {
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	dir := filepath.Dir(shim.Path)
	cc := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-x", "c", "-", "-o", filepath.Join(dir, "libbeside.so"))
	cc.Stdin = strings.NewReader("int beside(void) { return 1; }\n")
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	module := shim.Beside(t, "vendor.so", "-Wl,--no-as-needed", "-L"+dir, "-Wl,-rpath,$ORIGIN", "-lbeside")
	data, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	spec := worker.Spec{Path: module, Env: shim.Env, SHA256: hex.EncodeToString(sum[:]), Trust: worker.TrustOwner}
	loads(t, spec, "beside itself ($ORIGIN)")
	spec.SHA256 = ""
	loads(t, spec, "")
	if os.Geteuid() == 0 { // what a test makes is root's then
		spec.SHA256, spec.Trust = hex.EncodeToString(sum[:]), worker.TrustRoot
		loads(t, spec, "")
	}
}

// loads starts a child and wants it to work, or to be refused with a text.
func loads(t *testing.T, spec worker.Spec, want string) {
	t.Helper()
	p, err := worker.Start(t.Context(), spec)
	if want == "" {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Slots(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	wants(t, err, pkcs11.ErrModuleUnusable)
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it", err, want)
	}
}

func copyModule(t *testing.T, from, dir string) string {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "module.so")
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

func chmod(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t *testing.T, target, path string) string {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	return path
}
