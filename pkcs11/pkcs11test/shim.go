package pkcs11test

import (
	"context"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// NewShim puts the shim, which the C compiler builds, before the bay.
func NewShim(t testing.TB, b Bay) Shim {
	t.Helper()
	dir := t.TempDir()
	library, err := shimLibrary()
	s := Shim{
		Bay:   Bay{Path: lay(t, filepath.Join(dir, "shim.so"), library, err), Dir: b.Dir, Env: map[string]string{}},
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

// shimObject and shimLibrary are what the C compiler makes of the shim, once for all tests of a
// binary.
var (
	shimObject = sync.OnceValues(func() ([]byte, error) {
		return compiled(func(dir, out string) ([]string, error) {
			if err := os.CopyFS(dir, shimSource); err != nil {
				return nil, err
			}
			source, err := filepath.Glob(filepath.Join(dir, "shim", "*.c"))
			return slices.Concat([]string{"-r", "-nostdlib", "-fPIC", "-fvisibility=hidden", "-o", out}, source), err
		})
	})
	shimLibrary = sync.OnceValues(func() ([]byte, error) { return linkShim("") })
)

// linkShim is the shim as a library, with one more source in C and what else the compiler is told.
func linkShim(more string, flags ...string) ([]byte, error) {
	object, err := shimObject()
	if err != nil {
		return nil, err
	}
	return compiled(func(dir, out string) ([]string, error) {
		shim, source := filepath.Join(dir, "shim.o"), filepath.Join(dir, "more.c")
		err := errors.Join(os.WriteFile(shim, object, 0o600), os.WriteFile(source, []byte(more), 0o600))
		return slices.Concat([]string{"-shared", "-fPIC", "-o", out, shim, source}, flags, []string{"-ldl"}), err
	})
}

// compiled is what the C compiler makes in a folder of its own.
func compiled(arguments func(dir, out string) ([]string, error)) (made []byte, err error) {
	dir, err := os.MkdirTemp("", "shim")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	out := filepath.Join(dir, "made")
	args, err := arguments(dir, out)
	if err != nil {
		return nil, err
	}
	if said, err := exec.CommandContext(context.Background(), "cc", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the shim module (apt-get install gcc): %w\n%s", err, said)
	}
	return os.ReadFile(out)
}

// Beside writes another library of the shim beside it, linked with more flags of the C compiler.
func (s Shim) Beside(t testing.TB, name string, flags ...string) (path string) {
	t.Helper()
	library, err := linkShim("", flags...)
	return lay(t, filepath.Join(filepath.Dir(s.Path), name), library, err)
}

// lay writes a library of the shim.
func lay(t testing.TB, path string, library []byte, err error) string {
	t.Helper()
	if err == nil {
		err = os.WriteFile(path, library, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Alone is the shim for a daemon in a process of its own, whose configuration lets none of
// the shim's variables through: they are built in. It keeps no record of calls.
func (s Shim) Alone(t testing.TB) Shim {
	t.Helper()
	library, err := linkShim(fmt.Sprintf(`#include <stdlib.h>
__attribute__((constructor)) static void built_in(void)
{
	setenv("SHIM_MODULE", %q, 1);
	setenv("SHIM_RULES", %q, 1);
}
`, s.Env["SHIM_MODULE"], s.rules))
	s.Path = lay(t, filepath.Join(t.TempDir(), "shim.so"), library, err)
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
