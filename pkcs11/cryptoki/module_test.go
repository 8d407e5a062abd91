package cryptoki_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

func TestOpenExplains(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	library := func(name, source string, args ...string) string {
		path := filepath.Join(dir, name)
		cc := exec.CommandContext(t.Context(), "cc", append([]string{"-x", "c", "-", "-x", "none", "-o", path}, args...)...)
		cc.Stdin = strings.NewReader(source)
		if out, err := cc.CombinedOutput(); err != nil {
			t.Fatalf("cc: %v\n%s", err, out)
		}
		return path
	}
	softHSM, err := os.ReadFile(pkcs11test.SoftHSM(t))
	if err != nil {
		t.Fatal(err)
	}
	foreign := append([]byte(nil), softHSM...)
	foreign[18], foreign[19] = 0x16, 0x00 // e_machine: EM_S390

	for name, c := range map[string]struct{ path, says string }{
		"relative":              {"libsofthsm2.so", "must be absolute"},
		"missing":               {filepath.Join(dir, "missing.so"), "no such file"},
		"directory":             {dir, "not a regular file"},
		"empty":                 {file("empty.so", ""), "empty"},
		"text":                  {file("text.so", "just words\n"), "a text file"},
		"script":                {file("script.so", "#!/bin/sh\n"), "a script"},
		"linker script":         {file("ld.so", "/* GNU ld script */\nINPUT(x)\n"), "a text file"},
		"bytes":                 {file("bytes.so", "MZ\x00\x00\x00"), "not a shared library"},
		"half a module":         {file("half.so", string(softHSM[:4000])), "cut short"},
		"module cut at its end": {file("cut.so", string(softHSM[:len(softHSM)*3/4])), "cut short"},
		"another machine":       {file("s390.so", string(foreign)), "built for EM_S390"},
		"other library":         {library("other.so", "int f(void) { return 1; }", "-shared", "-fPIC"), "no C_GetFunctionList"},
		"missing library": {library("needs.so", "extern int absent(void); int C_GetFunctionList(void) { return absent(); }",
			"-shared", "-fPIC", "-Wl,--no-as-needed", library("libgone.so", "int absent(void) { return 1; }", "-shared", "-fPIC")), "libraries it needs"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "missing library" {
				if err := os.Remove(filepath.Join(dir, "libgone.so")); err != nil {
					t.Fatal(err)
				}
			}
			_, err := cryptoki.Open(c.path, "")
			if !errors.Is(err, pkcs11.ErrModuleUnusable) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error is %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestOpenFailsWithTheModulesCode(t *testing.T) {
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	shim.Rules(t, "C_Initialize return 0x5")
	for name, value := range shim.Env {
		t.Setenv(name, value)
	}
	_, err := cryptoki.Open(shim.Path, "")
	if e, ok := errors.AsType[*pkcs11.Error](err); !ok || e.Op != "C_Initialize" || e.Code != 0x5 {
		t.Errorf("error is %v", err)
	}
}

// A library can be initialised once in a process: a second instance is refused
// and leaves the first in order.
func TestOpenTwice(t *testing.T) {
	b := pkcs11test.NewBay(t)
	m := open(t, b)
	_, err := cryptoki.Open(b.Path, "")
	if e, ok := errors.AsType[*pkcs11.Error](err); !ok || e.Code != 0x191 {
		t.Errorf("error is %v", err)
	}
	if _, err := m.Slots(t.Context()); err != nil {
		t.Error(err)
	}
}
