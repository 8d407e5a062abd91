package pkcs11test

import (
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

//go:embed shim
var shimSource embed.FS

// Shim is a bay behind a module that misbehaves on order: its Path is the shim's,
// which passes every call on to SoftHSM unless a rule says otherwise. Rules hold
// from the next call on, in whatever process the module lives.
type Shim struct {
	Bay
	rules, calls string
	told         *int64 // how much of the record of calls was given out
}

// NewShim builds the shim with the C compiler and puts it before the bay.
func NewShim(t testing.TB, b Bay) Shim {
	t.Helper()
	dir := t.TempDir()
	library := buildShim(t, dir)
	s := Shim{
		Bay:   Bay{Path: library, Dir: b.Dir, Env: map[string]string{}},
		rules: filepath.Join(dir, "rules"),
		calls: filepath.Join(dir, "calls"),
		told:  new(int64),
	}
	for name, value := range b.Env {
		s.Env[name] = value
	}
	s.Env["SHIM_MODULE"] = b.Path
	s.Env["SHIM_RULES"] = s.rules
	s.Env["SHIM_CALLS"] = s.calls
	return s
}

// buildShim builds the shim in a folder, with what is in more beside its sources.
func buildShim(t testing.TB, dir string, more ...string) (library string) {
	t.Helper()
	if err := os.CopyFS(dir, shimSource); err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Glob(filepath.Join(dir, "shim", "*.c"))
	if err != nil {
		t.Fatal(err)
	}
	library = filepath.Join(dir, "shim.so")
	args := slices.Concat([]string{"-shared", "-fPIC", "-fvisibility=hidden", "-o", library}, source, more, []string{"-ldl"})
	if out, err := exec.CommandContext(t.Context(), "cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("build the shim module (apt-get install gcc): %v\n%s", err, out)
	}
	return library
}

// Alone is the shim for a daemon in a process of its own, whose configuration lets none of
// the shim's variables through: they are built in. It keeps no record of calls.
func (s Shim) Alone(t testing.TB) Shim {
	t.Helper()
	dir := t.TempDir()
	built := filepath.Join(dir, "built_in.c")
	text := fmt.Sprintf(`#include <stdlib.h>
__attribute__((constructor)) static void built_in(void)
{
	setenv("SHIM_MODULE", %q, 1);
	setenv("SHIM_RULES", %q, 1);
}
`, s.Env["SHIM_MODULE"], s.rules)
	if err := os.WriteFile(built, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Path = buildShim(t, dir, built)
	env := map[string]string{}
	for name, value := range s.Env {
		if !strings.HasPrefix(name, "SHIM_") {
			env[name] = value
		}
	}
	s.Env = env
	return s
}

// Rules replaces the rules; without any the module behaves. Each is a line:
//
//	FUNCTION[?][#N] [slot=SERIAL] ACTION [ARGUMENT]
//
// such as "C_Login return 0xa4", "C_Sign#2 segv", "*#7 then-hang", "C_GenerateKeyPair
// slot=0123456789abcdef wait 2000" or "C_GetTokenInfo flags 0x200000"; or one for the
// whole station, such as "token 0123456789abcdef removed", "shuffle 42" or "slots 10000".
// FUNCTION is * for any; #N is the N-th call alone, counted over all processes since the
// rules were replaced. What only asks for a length is not counted, and no rule is for
// it that does not end in "?". shim/shim.c lists all actions and station-wide rules.
//
// How often a PIN was wrong ("token SERIAL pin-lock N") outlives the rules, as it does
// on a token; which tokens a call has removed does not.
func (s Shim) Rules(t testing.TB, rules ...string) {
	t.Helper()
	// The generation tells the module that these are other rules, though they may read
	// the same: it counts anew.
	text := fmt.Sprintf("generation %d\n%s\n", time.Now().UnixNano(), strings.Join(rules, "\n"))
	// Renamed into place: the module must never read half a file.
	next := s.rules + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, s.rules); err != nil {
		t.Fatal(err)
	}
}

// Calls gives the functions called since the last Calls, in order.
func (s Shim) Calls(t testing.TB) []string {
	t.Helper()
	text := s.untold(t)
	*s.told += int64(len(text))
	return strings.Fields(text)
}

// AwaitCall waits until a function is called that the next Calls will give, some
// seconds at most.
func (s Shim) AwaitCall(t testing.TB, function string) {
	t.Helper()
	const patience = 20 * time.Second
	for end := time.Now().Add(patience); !slices.Contains(strings.Fields(s.untold(t)), function); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is not called, but %q", function, s.untold(t))
		}
	}
}

// untold is the end of the record of calls, to which modules may be writing: nothing is
// taken from it.
func (s Shim) untold(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(s.calls)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text[min(*s.told, int64(len(text))):])
}

// Counted is how many calls were made under the present rules: the N of the last "*#N".
func (s Shim) Counted(t testing.TB) int {
	t.Helper()
	state, err := os.ReadFile(s.rules + ".state")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	// struct state of shim/shim.h: the generation, a number for each of the 68
	// functions, the number of all.
	const all = 8 * (1 + 68)
	if err != nil || len(state) < all+8 {
		t.Fatalf("the shim's state: %d bytes, %v", len(state), err)
	}
	rules, err := os.ReadFile(s.rules)
	generation := fmt.Sprintf("generation %d\n", binary.NativeEndian.Uint64(state))
	if err == nil && !strings.HasPrefix(string(rules), generation) {
		return 0 // no call was made since they were replaced
	}
	return int(binary.NativeEndian.Uint64(state[all:]))
}
