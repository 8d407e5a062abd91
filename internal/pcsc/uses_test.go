package pcsc

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestUses builds libraries as makers build modules.
func TestUses(t *testing.T) {
	const linked, opened, none = "int f(void) { return 1; }", `const char *f(void) { return "libpcsclite.so.1"; }`, "int f(void) { return 2; }"
	rows := []struct {
		name  string
		build func(t *testing.T, dir string) string
		want  bool
	}{
		{"linked with it", func(t *testing.T, dir string) string {
			// Any library of that name: the linker wants one, nobody loads it.
			build(t, dir, "libpcsclite.so.1", none)
			return build(t, dir, "module.so", linked, "-Wl,--no-as-needed", "-L"+dir, "-l:libpcsclite.so.1")
		}, true},
		{"opens it later", func(t *testing.T, dir string) string { return build(t, dir, "module.so", opened) }, true},
		{"neither", func(t *testing.T, dir string) string { return build(t, dir, "module.so", none) }, false},
		{"a library beside it opens it", func(t *testing.T, dir string) string {
			build(t, dir, "libmaker.so", opened)
			return build(t, dir, "module.so", linked, "-Wl,--no-as-needed", "-L"+dir, "-lmaker")
		}, true},
		{"a library on its own path opens it", func(t *testing.T, dir string) string {
			below := filepath.Join(dir, "lib")
			if err := os.Mkdir(below, 0o700); err != nil {
				t.Fatal(err)
			}
			build(t, below, "libmaker.so", opened)
			return build(t, dir, "module.so", linked, "-Wl,--no-as-needed", "-L"+below, "-lmaker", "-Wl,-rpath,$ORIGIN/lib")
		}, true},
		{"libraries in a circle", func(t *testing.T, dir string) string {
			build(t, dir, "libb.so", none)
			build(t, dir, "liba.so", none, "-Wl,--no-as-needed", "-L"+dir, "-lb")
			build(t, dir, "libb.so", none, "-Wl,--no-as-needed", "-L"+dir, "-la")
			return filepath.Join(dir, "liba.so")
		}, false},
		{"by a link", func(t *testing.T, dir string) string {
			to := filepath.Join(dir, "link.so")
			if err := os.Symlink(build(t, dir, "module.so", opened), to); err != nil {
				t.Fatal(err)
			}
			return to
		}, true},
		{"not there", func(_ *testing.T, dir string) string { return filepath.Join(dir, "module.so") }, false},
		{"a text that names it", func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "module.so")
			if err := os.WriteFile(path, []byte("libpcsclite.so.1"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := Uses(row.build(t, t.TempDir())); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func build(t *testing.T, dir, name, source string, flags ...string) string {
	t.Helper()
	c, library := filepath.Join(dir, name+".c"), filepath.Join(dir, name)
	if err := os.WriteFile(c, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cc := exec.CommandContext(t.Context(), "cc", append([]string{"-shared", "-fPIC", "-o", library, c, "-Wl,-soname," + name}, flags...)...)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("build %s (apt-get install gcc): %v\n%s", name, err, out)
	}
	return library
}

// TestUsesOfDebiansModules: OpenSC opens the client library from a library that its
// module is linked with; SoftHSM has no readers.
func TestUsesOfDebiansModules(t *testing.T) {
	for pattern, want := range map[string]bool{
		"/usr/lib/*/opensc-pkcs11.so":     true,
		"/usr/lib/softhsm/libsofthsm2.so": false,
	} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s (apt-get install opensc softhsm2): %v", pattern, err)
		}
		if got := Uses(found[0]); got != want {
			t.Errorf("%s: got %v, want %v", found[0], got, want)
		}
	}
}
