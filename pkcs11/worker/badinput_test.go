//go:build !windows

package worker_test

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// library builds a shared library of a C source.
func library(t *testing.T, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "library.so")
	cc := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-x", "c", "-o", path, "-")
	cc.Stdin = strings.NewReader(source)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("cc (apt-get install gcc): %v\n%s", err, out)
	}
	return path
}

// elf32 is as much of a 32-bit library as tells what it is, so that no compiler for
// such is needed.
func elf32(t *testing.T) string {
	t.Helper()
	head := make([]byte, 64)
	copy(head, elf.ELFMAG)
	head[elf.EI_CLASS], head[elf.EI_DATA], head[elf.EI_VERSION] = byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	head[16], head[18], head[20] = byte(elf.ET_DYN), byte(elf.EM_386), byte(elf.EV_CURRENT)
	path := filepath.Join(t.TempDir(), "old.so")
	if err := os.WriteFile(path, head, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// listWith is a module of which all functions work but those at some places of its
// list, which are not there.
func listWith(missing ...int) string {
	text := "static unsigned long ok(void) { return 0; }\n" +
		"static struct { void *version; void *f[68]; } list;\n" +
		"unsigned long C_GetFunctionList(void **out) {\n" +
		"for (int i = 0; i < 68; i++) list.f[i] = (void *)ok;\n"
	for _, i := range missing {
		text += fmt.Sprintf("list.f[%d] = 0;\n", i)
	}
	return text + "*out = &list; return 0; }\n"
}

// What is no usable module is refused with the reason, before anything is called that
// is not there.
func TestUnusableLibraries(t *testing.T) {
	const generateKeyPair = 59
	for name, c := range map[string]struct {
		path  string
		words []string
	}{
		"32 bits":       {elf32(t), []string{"EM_386"}},
		"no list":       {library(t, "unsigned long C_GetFunctionList(void **out) { *out = 0; return 0; }"), []string{"C_GetFunctionList"}},
		"fails to list": {library(t, "unsigned long C_GetFunctionList(void **out) { return 5; }"), []string{"C_GetFunctionList", "CKR_GENERAL_ERROR"}},
		"lacks one":     {library(t, listWith(generateKeyPair)), []string{"it lacks C_GenerateKeyPair"}},
		"lacks several": {library(t, listWith(0, 6)), []string{"it lacks C_Initialize, C_GetTokenInfo"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := worker.Start(t.Context(), worker.Spec{Trust: worker.TrustOwner, Path: c.path})
			wants(t, err, pkcs11.ErrModuleUnusable, append(c.words, c.path)...)
		})
	}
	const waitForSlotEvent = 67 // never called here
	start(t, worker.Spec{Trust: worker.TrustOwner, Path: library(t, listWith(waitForSlotEvent))})
}

// A module whose start or list crashes costs its child, and says so.
func TestCrashWhileListingFunctions(t *testing.T) {
	path := library(t, "unsigned long C_GetFunctionList(void **out) { *(volatile int *)8 = 0; return 0; }")
	_, err := worker.Start(t.Context(), worker.Spec{Trust: worker.TrustOwner, Path: path})
	wants(t, err, pkcs11.ErrModuleCrashed, "signal 11")
}

// A module that knows no lengths: nothing is taken for an answer that is none, this
// process lives, and the next child works.
func TestNonsenseLengths(t *testing.T) {
	b := pkcs11test.NewBay(t)
	token := b.InitTokens(t, 1)[0]
	shim := pkcs11test.NewShim(t, b)
	pool := newPool(t, shim.Bay)
	first := acquire(t, pool)
	if err := generate(t.Context(), loggedIn(t, first, token)); err != nil {
		t.Fatal(err)
	}
	release(t, pool, first)
	for rule, says := range map[string]string{
		"C_GetAttributeValue length 0xfffffffffffffff0": "the module gave an answer that cannot be",
		"C_GetAttributeValue length 0xffffffffffffffff": "an object shows no CKA_CLASS", // CK_UNAVAILABLE_INFORMATION
		"C_GetAttributeValue length 0x100000000000":     "an object shows no CKA_CLASS",
		"C_GetAttributeValue length 0x7fffffff":         "", // room is made for it, and the answer itself is right
		"C_Sign length 0xffffffffffffffff":              "CKR_HOST_MEMORY",
		"C_Sign length 0":                               "CKR_BUFFER_TOO_SMALL",
		"C_GetSlotList length 0xffffffffffffffff":       "the module gave an answer that cannot be",
		"C_GetSlotList length 0x10000000000000":         "the module gave an answer that cannot be",
	} {
		t.Run(rule, func(t *testing.T) {
			p := acquire(t, pool)
			held := loggedIn(t, p, token)
			shim.Rules(t, rule)
			err := lookEverywhere(t.Context(), p, held)
			shim.Rules(t)
			release(t, pool, p)
			if says == "" && err != nil {
				t.Error(err)
			} else if says != "" {
				wants(t, err, pkcs11.ErrGeneral, says)
			}
			next := acquire(t, pool)
			if err := lookEverywhere(t.Context(), next, loggedIn(t, next, token)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			release(t, pool, next)
		})
	}
}

// lookEverywhere makes each call that reads what has no fixed length.
func lookEverywhere(ctx context.Context, m pkcs11.Module, token pkcs11.Token) error {
	if _, err := token.Objects(ctx, pkcs11.Query{}); err != nil {
		return err
	}
	signature, err := token.Sign(ctx, pkcs11.KeyID{1}, pkcs11.MechanismECDSA, make([]byte, 32))
	if err == nil && len(signature) != 64 {
		err = fmt.Errorf("the signature is %d bytes", len(signature))
	}
	if err != nil {
		return err
	}
	_, err = m.Slots(ctx)
	return err
}

// Ten thousand slots, with names as long as they can be, are listed within the
// deadline and fit a frame; a token among them is found.
func TestTenThousandSlots(t *testing.T) {
	b := pkcs11test.NewBay(t)
	token := b.InitTokens(t, 1)[0]
	shim := pkcs11test.NewShim(t, b)
	shim.Rules(t, "slots 10000")
	shim.Env["SHIM_CALLS"] = os.DevNull
	p := start(t, worker.Spec{Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env})
	begin := time.Now()
	slots, err := p.Slots(t.Context())
	if err != nil || len(slots) != 10000 {
		t.Fatalf("%d slots, %v", len(slots), err)
	}
	t.Logf("took %s", time.Since(begin))
	if len(slots[9999].Description) < 60 || slots[9999].Token != nil {
		t.Errorf("the last one is %+v", slots[9999])
	}
	loggedIn(t, p, token)
}

// Fields that are not as they should be arrive as valid UTF-8 without padding.
func TestOddFields(t *testing.T) {
	b := pkcs11test.NewBay(t)
	token := b.InitTokens(t, 1)[0]
	shim := pkcs11test.NewShim(t, b)
	p := start(t, worker.Spec{Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env})
	look := func(rule string) pkcs11.Slot {
		t.Helper()
		shim.Rules(t, rule)
		slots, err := p.Slots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slots[0]
	}
	if s := look("nul-padded"); s.Token.Label != token.Label || s.Token.Serial != token.Serial || strings.ContainsRune(s.Description, 0) {
		t.Errorf("padded with NULs: %+v, %+v", s, s.Token)
	}
	s := look("garbage")
	if !utf8.ValidString(string(s.Token.Label)) || !strings.Contains(string(s.Token.Label), "\uFFFDller") {
		t.Errorf("label is %q", s.Token.Label)
	}
	loggedIn(t, p, token) // it is found by its serial all the same
}

// What a token cannot or will not do has an error that says what it is.
func TestTokensThatRefuse(t *testing.T) {
	login := func(ctx context.Context, k pkcs11.Token) error { return k.LoginUser(ctx, pkcs11.NewUserPIN("user-00")) }
	der := pkcs11test.Certificate(t, "leaf")
	write := func(ctx context.Context, k pkcs11.Token) error {
		return k.WriteCertificate(ctx, pkcs11.CertificateObject{ID: pkcs11.KeyID{1}, DER: der})
	}
	initialise := func(ctx context.Context, k pkcs11.Token) error {
		_, err := k.Init(ctx, pkcs11.NewSOPIN("so-pin-00"), "again")
		return err
	}
	wrong := func(ctx context.Context, k pkcs11.Token) error { return k.LoginUser(ctx, pkcs11.NewUserPIN("wrong")) }
	b := pkcs11test.NewBay(t)
	token := b.InitTokens(t, 1)[0]
	shim := pkcs11test.NewShim(t, b)
	pool := worker.NewPool(worker.Spec{
		Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env, Deadlines: worker.Deadlines{Call: time.Second},
	})
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, c := range map[string]struct {
		rule      string
		call      func(context.Context, pkcs11.Token) error
		loggedOut bool
		want      error
		words     []string
	}{
		"PIN pad":                    {"C_GetTokenInfo flags 0x100", login, true, pkcs11.ErrPINPad, []string{"C_Login", "PIN pad"}},
		"PIN pad, initialising":      {"C_GetTokenInfo flags 0x100", initialise, true, pkcs11.ErrPINPad, []string{"C_InitToken"}},
		"write-protected":            {"C_GetTokenInfo flags 0x2", initialise, true, pkcs11.ErrWriteProtected, []string{"write-protected"}},
		"write-protected, late":      {"C_CreateObject return 0xe2", write, false, pkcs11.ErrWriteProtected, []string{"CKR_TOKEN_WRITE_PROTECTED"}},
		"locked":                     {"C_GetTokenInfo flags 0x40000", login, true, pkcs11.ErrPINLocked, []string{"before any try"}},
		"locked, late":               {"C_Login return 0xa4", login, true, pkcs11.ErrPINLocked, []string{"CKR_PIN_LOCKED"}},
		"full":                       {"C_CreateObject return 0x31", write, false, pkcs11.ErrTokenFull, []string{"C_CreateObject", "CKR_DEVICE_MEMORY"}},
		"full, key":                  {"C_GenerateKeyPair return 0x31", generate, false, pkcs11.ErrTokenFull, []string{"C_GenerateKeyPair"}},
		"template refused":           {"C_GenerateKeyPair return 0x13", generate, false, pkcs11.ErrTemplateRefused, []string{"CKR_ATTRIBUTE_VALUE_INVALID"}},
		"certificate refused":        {"C_CreateObject return 0xd1", write, false, pkcs11.ErrTemplateRefused, []string{"CKR_TEMPLATE_INCONSISTENT"}},
		"mechanism missing":          {"limit mechanism 0x1040", generate, false, pkcs11.ErrUnsupported, []string{"CKR_MECHANISM_INVALID"}},
		"a code of the vendor's own": {"C_GenerateKeyPair return 0x80000042", generate, false, pkcs11.ErrGeneral, []string{"CKR_0x80000042"}},
		"pulled":                     {"C_CreateObject removed", write, false, pkcs11.ErrTokenRemoved, []string{"CKR_DEVICE_REMOVED"}},
		"dies when it has done it":   {"C_CreateObject then-segv", write, false, pkcs11.ErrModuleCrashed, []string{"signal 11", "C_CreateObject"}},
		"hangs when it has done it":  {"C_CreateObject then-hang", write, false, pkcs11.ErrModuleHung, []string{"C_CreateObject"}},
		"fails when it has done it":  {"C_CreateObject then 0x30", write, false, pkcs11.ErrDevice, []string{"CKR_DEVICE_ERROR"}},
		"pulled when it has done it": {"C_CreateObject then-removed", write, false, pkcs11.ErrTokenRemoved, []string{"CKR_DEVICE_REMOVED"}},
		"one try is all there is":    {"token * pin-lock 1", wrong, true, pkcs11.ErrPINLastTry, []string{"last PIN try"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := acquire(t, pool)
			defer release(t, pool, p)
			held := loggedIn(t, p, token)
			if c.loggedOut {
				if err := held.Logout(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			shim.Rules(t, c.rule)
			err := c.call(t.Context(), held)
			shim.Rules(t)
			wants(t, err, c.want, c.words...)
		})
	}
}

// A rule that is misspelt must not pass for one that does nothing.
func TestShimKnowsItsRules(t *testing.T) {
	for _, rule := range []string{"C_Lgin return 0x5", "C_Login retrun 0x5", "swp A B"} {
		p, shim := shimmed(t, worker.Deadlines{})
		shim.Rules(t, rule)
		_, err := p.Info(t.Context())
		wants(t, err, pkcs11.ErrModuleCrashed, "signal 6")
	}
}
