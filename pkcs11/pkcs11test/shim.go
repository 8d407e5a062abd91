package pkcs11test

import (
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed shim/shim.c
var shimSource []byte

// Shim is a bay behind a module that misbehaves on order: its Path is the shim's,
// which passes every call on to SoftHSM unless a rule says otherwise. Rules hold
// from the next call on, in whatever process the module lives.
type Shim struct {
	Bay
	rules, calls string
}

// NewShim builds the shim with the C compiler and puts it before the bay.
func NewShim(t testing.TB, b Bay) Shim {
	t.Helper()
	dir := t.TempDir()
	source, library := filepath.Join(dir, "shim.c"), filepath.Join(dir, "shim.so")
	if err := os.WriteFile(source, shimSource, 0o600); err != nil {
		t.Fatal(err)
	}
	cc := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl")
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("build the shim module (apt-get install gcc): %v\n%s", err, out)
	}
	s := Shim{
		Bay:   Bay{Path: library, Dir: b.Dir, Env: map[string]string{}},
		rules: filepath.Join(dir, "rules"),
		calls: filepath.Join(dir, "calls"),
	}
	for name, value := range b.Env {
		s.Env[name] = value
	}
	s.Env["SHIM_MODULE"] = b.Path
	s.Env["SHIM_RULES"] = s.rules
	s.Env["SHIM_CALLS"] = s.calls
	return s
}

// Rules replaces the rules; without any the module behaves. Each is a line such
// as "C_Login return 0xa4", "C_Sign segv", "C_GenerateKeyPair hang" or
// "C_GetTokenInfo flags 0x200000"; shim/shim.c lists the actions.
func (s Shim) Rules(t testing.TB, rules ...string) {
	t.Helper()
	// Renamed into place: the module must never read half a file.
	next := s.rules + ".next"
	if err := os.WriteFile(next, []byte(strings.Join(rules, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, s.rules); err != nil {
		t.Fatal(err)
	}
}

// Calls gives the functions called since the last Calls, in order, and forgets them.
func (s Shim) Calls(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile(s.calls)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.calls, 0); err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}
