package cryptoki_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// What follows shows that the shim does what it is told; the tests that use it
// would else pass over a rule that does nothing.

// shimmed opens a module behind a shim, with n tokens.
func shimmed(t *testing.T, n int) (pkcs11.Module, pkcs11test.Shim, []pkcs11test.TestToken) {
	t.Helper()
	b := pkcs11test.NewBay(t)
	tokens := b.InitTokens(t, n)
	shim := pkcs11test.NewShim(t, b)
	return open(t, shim.Bay), shim, tokens
}

func openToken(t *testing.T, m pkcs11.Module, k pkcs11test.TestToken) pkcs11.Token {
	t.Helper()
	token, err := m.Open(t.Context(), pkcs11.Identity{Serial: k.Serial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = token.Close() }) // its token may be gone
	return token
}

func loggedIn(t *testing.T, m pkcs11.Module, k pkcs11test.TestToken) pkcs11.Token {
	t.Helper()
	token := openToken(t, m, k)
	must(t, token.LoginUser(t.Context(), pkcs11.NewUserPIN(k.User)))
	return token
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want kind %q", err, kind)
	}
}

func p256(t *testing.T) pkcs11.Algorithm {
	t.Helper()
	a, err := pkcs11.AlgorithmByName("ec-p256")
	must(t, err)
	return a
}

func generate(t *testing.T, token pkcs11.Token, id byte) error {
	t.Helper()
	_, err := token.GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{Algorithm: p256(t), ID: pkcs11.KeyID{id}})
	return err
}

// shown are the tokens' labels in the order of the slots; "-" is an empty slot.
func shown(t *testing.T, m pkcs11.Module) []string {
	t.Helper()
	slots, err := m.Slots(t.Context())
	must(t, err)
	labels := make([]string, 0, len(slots))
	for _, s := range slots {
		switch {
		case s.Token == nil:
			labels = append(labels, "-")
		default:
			labels = append(labels, string(s.Token.Label))
		}
	}
	return labels
}

func info(t *testing.T, token pkcs11.Token) pkcs11.TokenInfo {
	t.Helper()
	i, err := token.Info(t.Context())
	must(t, err)
	return i
}

func TestShimNthCall(t *testing.T) {
	m, shim, _ := shimmed(t, 1)
	codes := func(rules ...string) []pkcs11.Code {
		shim.Rules(t, rules...)
		got := []pkcs11.Code{}
		for range 3 {
			_, err := m.Info(t.Context())
			e, _ := errors.AsType[*pkcs11.Error](err)
			if e == nil {
				e = &pkcs11.Error{}
			}
			got = append(got, e.Code)
		}
		return got
	}
	if got := codes(pkcs11test.Nth("C_GetInfo", 2, pkcs11test.ReturnCode(0x30))); !slices.Equal(got, []pkcs11.Code{0, 0x30, 0}) {
		t.Errorf("the second call alone: %v", got)
	}
	if got := codes(pkcs11test.Nth("*", 3, pkcs11test.ThenCode(0x5))); !slices.Equal(got, []pkcs11.Code{0, 0, 0x5}) {
		t.Errorf("the third call of all: %v", got)
	}
	if n := shim.Counted(t); n != 3 {
		t.Errorf("%d calls are counted", n)
	}
	if got := codes("* return 0x30"); !slices.Equal(got, []pkcs11.Code{0x30, 0x30, 0x30}) {
		t.Errorf("every call: %v", got)
	}
	shim.Rules(t) // C_Finalize is a call too
}

// A length query is not counted, and a rule is for it when it says so.
func TestShimLengthQueries(t *testing.T) {
	m, shim, tokens := shimmed(t, 1)
	token := loggedIn(t, m, tokens[0])
	must(t, generate(t, token, 1))
	sign := func() error {
		_, err := token.Sign(t.Context(), pkcs11.KeyID{1}, pkcs11.MechanismECDSA, make([]byte, 32))
		return err
	}
	for rule, want := range map[string]pkcs11.Code{
		"C_Sign#1 return 0x30":  0x30,
		"C_Sign#2 return 0x30":  0,
		"C_Sign? return 0x30":   0x30,
		"C_Sign?#2 return 0x30": 0,
	} {
		shim.Rules(t, rule)
		err := sign()
		e, _ := errors.AsType[*pkcs11.Error](err)
		if e == nil {
			e = &pkcs11.Error{}
		}
		if e.Code != want {
			t.Errorf("%s: %v", rule, err)
		}
		must(t, token.Logout(t.Context())) // a device error ends the session
		must(t, token.LoginUser(t.Context(), pkcs11.NewUserPIN(tokens[0].User)))
	}
	shim.Rules(t, "C_Sign return 0x30")
	shim.Calls(t)
	if err := sign(); !errors.Is(err, pkcs11.ErrDevice) {
		t.Errorf("error is %v", err)
	}
	if calls := shim.Calls(t); !slices.Contains(calls, "C_Sign") {
		t.Errorf("calls are %v", calls)
	}
}

// Done and reported as an error: what was asked for is there.
func TestShimThen(t *testing.T) {
	m, shim, tokens := shimmed(t, 1)
	token := loggedIn(t, m, tokens[0])
	shim.Rules(t, "C_GenerateKeyPair "+pkcs11test.ThenCode(0x30))
	wants(t, generate(t, token, 1), pkcs11.ErrDevice)
	shim.Rules(t)
	must(t, token.Logout(t.Context()))
	must(t, token.LoginUser(t.Context(), pkcs11.NewUserPIN(tokens[0].User)))
	objects, err := token.Objects(t.Context(), pkcs11.Query{ID: pkcs11.KeyID{1}})
	if err != nil || len(objects) != 2 {
		t.Errorf("objects are %v, %v", objects, err)
	}
}

func TestShimSlot(t *testing.T) {
	m, shim, tokens := shimmed(t, 2)
	first, second := openToken(t, m, tokens[0]), openToken(t, m, tokens[1])
	shim.Rules(t, pkcs11test.OnToken("C_Login", tokens[1].Serial, pkcs11test.ReturnCode(0xa4)))
	must(t, first.LoginUser(t.Context(), pkcs11.NewUserPIN(tokens[0].User)))
	wants(t, second.LoginUser(t.Context(), pkcs11.NewUserPIN(tokens[1].User)), pkcs11.ErrPINLocked)

	shim.Rules(t, pkcs11test.OnToken("C_GetTokenInfo", "", pkcs11test.ReturnCode(0xe1)))
	slots, err := m.Slots(t.Context())
	must(t, err)
	for _, s := range slots {
		if (s.Fault != nil) != (s.Token == nil) || s.Fault == nil && !s.Token.Initialized() {
			t.Errorf("slot is %+v", s)
		}
	}
}

func TestShimRemoved(t *testing.T) {
	for name, rule := range map[string]func(k pkcs11test.TestToken) string{
		"by a rule": func(k pkcs11test.TestToken) string { return pkcs11test.Removed(k.Serial) },
		"in a call": func(k pkcs11test.TestToken) string {
			return pkcs11test.OnToken("C_GenerateKeyPair", k.Serial, "removed")
		},
		"after a call": func(k pkcs11test.TestToken) string {
			return pkcs11test.OnToken("C_GenerateKeyPair", k.Serial, "then-removed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, shim, tokens := shimmed(t, 2)
			gone, stays := loggedIn(t, m, tokens[0]), loggedIn(t, m, tokens[1])
			shim.Rules(t, rule(tokens[0]))
			wants(t, generate(t, gone, 1), pkcs11.ErrTokenRemoved)
			must(t, generate(t, stays, 1))
			wants(t, generate(t, gone, 1), pkcs11.ErrTokenRemoved)
			if got := shown(t, m); slices.Contains(got, string(tokens[0].Label)) || !slices.Contains(got, "-") {
				t.Errorf("shown are %v", got)
			}
			shim.Rules(t)
			_, err := gone.Info(t.Context()) // put back
			must(t, err)
			if want := name == "after a call"; hasKey(t, m, tokens[0]) != want {
				t.Errorf("there is a key: %t, want %t", !want, want)
			}
		})
	}
}

func hasKey(t *testing.T, m pkcs11.Module, k pkcs11test.TestToken) bool {
	t.Helper()
	token := openToken(t, m, k)
	_ = token.Logout(t.Context())
	must(t, token.LoginUser(t.Context(), pkcs11.NewUserPIN(k.User)))
	objects, err := token.Objects(t.Context(), pkcs11.Query{})
	must(t, err)
	return len(objects) > 0
}

// A renumbered or swapped token is noticed before a write by its open session, and
// found where it is now afterwards; what is on it is its own.
func TestShimSlotIDs(t *testing.T) {
	for name, rule := range map[string]func(k []pkcs11test.TestToken) string{
		"renumbered": func(k []pkcs11test.TestToken) string { return pkcs11test.SlotID(k[0].Serial, 77) },
		"swapped":    func(k []pkcs11test.TestToken) string { return pkcs11test.Swapped(k[0].Serial, k[1].Serial) },
		"hard":       func(k []pkcs11test.TestToken) string { return pkcs11test.SwappedHard(k[0].Serial, k[1].Serial) },
	} {
		t.Run(name, func(t *testing.T) {
			m, shim, tokens := shimmed(t, 2)
			before := shown(t, m)
			token := loggedIn(t, m, tokens[0])
			shim.Rules(t, rule(tokens))
			after := shown(t, m)
			if slices.Sort(before); !slices.Equal(before, slices.Sorted(slices.Values(after))) {
				t.Errorf("shown are %v, %v before", after, before)
			}
			err := generate(t, token, 1) // by the session, if it is still the token's
			if err != nil && !errors.Is(err, pkcs11.ErrTokenReplaced) && !errors.Is(err, pkcs11.ErrTokenRemoved) {
				t.Errorf("error is %v", err)
			}
			shim.Rules(t)
			if hasKey(t, m, tokens[1]) || hasKey(t, m, tokens[0]) != (err == nil) {
				t.Errorf("a key is on the other token, or not where it should be (%v)", err)
			}
		})
	}
}

// A hard swap gives an open session to the other token, and takes it back.
func TestShimHardSwapMovesSessions(t *testing.T) {
	m, shim, tokens := shimmed(t, 2)
	first := loggedIn(t, m, tokens[0])
	must(t, generate(t, first, 1))
	objects := func() int {
		all, err := first.Objects(t.Context(), pkcs11.Query{}) // reads by the session as it is
		must(t, err)
		return len(all)
	}
	if n := objects(); n != 2 {
		t.Fatalf("%d objects", n)
	}
	shim.Rules(t, pkcs11test.SwappedHard(tokens[0].Serial, tokens[1].Serial))
	if n := objects(); n != 0 {
		t.Errorf("%d objects, the other token has none", n)
	}
	shim.Rules(t, pkcs11test.Swapped(tokens[0].Serial, tokens[1].Serial))
	if n := objects(); n != 2 {
		t.Errorf("%d objects, the session stays with its token", n)
	}
}

// The same seed deals the same; another one does not.
func TestShimShuffle(t *testing.T) {
	m, shim, _ := shimmed(t, 4)
	deals := func(rule string) string {
		shim.Rules(t, rule)
		all := []string{}
		for range 6 {
			all = append(all, strings.Join(shown(t, m), " "))
		}
		return strings.Join(all, "\n")
	}
	one, again, other := deals(pkcs11test.Shuffled(1, 1)), deals(pkcs11test.Shuffled(1, 1)), deals(pkcs11test.Shuffled(2, 1))
	if one != again {
		t.Errorf("the same seed deals\n%s\nand\n%s", one, again)
	}
	if one == other || len(slices.Compact(strings.Split(one, "\n"))) < 3 {
		t.Errorf("dealt are\n%s\nand\n%s", one, other)
	}
}

func TestShimPINLock(t *testing.T) {
	m, shim, tokens := shimmed(t, 2)
	lock := pkcs11test.PINLock(tokens[0].Serial, 3)
	shim.Rules(t, lock)
	token, other := openToken(t, m, tokens[0]), openToken(t, m, tokens[1])
	login := func(pin string) error { return token.LoginUser(t.Context(), pkcs11.NewUserPIN(pin)) }
	const tries = pkcs11.FlagUserPINCountLow | pkcs11.FlagUserPINFinalTry | pkcs11.FlagUserPINLocked
	shows := func(want pkcs11.TokenFlags) {
		t.Helper()
		if got := info(t, token).Flags & tries; got != want {
			t.Fatalf("flags are %#x, want %#x", got, want)
		}
	}
	shows(0)
	wants(t, login("wrong"), pkcs11.ErrPINIncorrect)
	shows(pkcs11.FlagUserPINCountLow)
	must(t, login(tokens[0].User))
	must(t, token.Logout(t.Context()))
	shows(0)
	for range 2 {
		wants(t, login("wrong"), pkcs11.ErrPINIncorrect)
	}
	shows(pkcs11.FlagUserPINCountLow | pkcs11.FlagUserPINFinalTry)
	wants(t, login("wrong"), pkcs11.ErrPINLastTry) // not tried at all

	// Someone else spends the last one, and it stays spent when the rules are replaced.
	shim.Rules(t, lock)
	out, err := shim.TryTool("pkcs11-tool", "--module", shim.Path, "--token-label", string(tokens[0].Label), "--login", "--pin", "wrong", "-O")
	if err == nil {
		t.Fatalf("a wrong PIN logs in:\n%s", out)
	}
	shows(pkcs11.FlagUserPINCountLow | pkcs11.FlagUserPINLocked)
	wants(t, login(tokens[0].User), pkcs11.ErrPINLocked)
	must(t, other.LoginUser(t.Context(), pkcs11.NewUserPIN(tokens[1].User)))

	// The SO sets another PIN, with all its tries.
	must(t, token.LoginSO(t.Context(), pkcs11.NewSOPIN(tokens[0].SOPIN)))
	must(t, token.InitUserPIN(t.Context(), pkcs11.NewUserPIN("another")))
	must(t, token.Logout(t.Context()))
	shows(0)
	must(t, login("another"))
}

func TestShimFields(t *testing.T) {
	m, shim, tokens := shimmed(t, 1)
	look := func(rules ...string) pkcs11.Slot {
		t.Helper()
		shim.Rules(t, rules...)
		slots, err := m.Slots(t.Context())
		must(t, err)
		return slots[0]
	}
	plain := look()
	if s := look("limit label 4"); s.Token.Label != "toke" {
		t.Errorf("label is %q", s.Token.Label)
	}
	if s := look("limit serial 8"); s.Token.Serial != tokens[0].Serial[:8] {
		t.Errorf("serial is %q", s.Token.Serial)
	}
	if s := look("serial 42"); s.Token.Serial != "42" {
		t.Errorf("serial is %q", s.Token.Serial)
	}
	if s := look("serial -"); s.Token.Serial != "" {
		t.Errorf("serial is %q", s.Token.Serial)
	}
	if s := look("nul-padded"); s.Description != plain.Description || *s.Token != *plain.Token {
		t.Errorf("padded with NULs it is %+v, %+v", s, s.Token)
	}
	if s := look("garbage"); !strings.HasPrefix(string(s.Token.Label), "M\uFFFDller") {
		t.Errorf("label is %q", s.Token.Label)
	}
}

func TestShimMechanisms(t *testing.T) {
	m, shim, tokens := shimmed(t, 1)
	token := loggedIn(t, m, tokens[0])
	has := func() bool {
		list, err := token.Mechanisms(t.Context())
		must(t, err)
		return slices.ContainsFunc(list, func(m pkcs11.MechanismInfo) bool { return m.Mechanism == pkcs11.MechanismECKeyPairGen })
	}
	if !has() {
		t.Fatal("SoftHSM has no elliptic curves")
	}
	for _, rule := range []string{"limit mechanisms", fmt.Sprintf("limit mechanism %#x", uint(pkcs11.MechanismECKeyPairGen))} {
		shim.Rules(t, rule)
		if has() {
			t.Errorf("%s: it is listed", rule)
		}
		wants(t, generate(t, token, 1), pkcs11.ErrUnsupported)
	}
	shim.Rules(t, "limit mechanism 0x0")
	must(t, generate(t, token, 1))
}

func TestShimManySlots(t *testing.T) {
	m, shim, tokens := shimmed(t, 1)
	shim.Rules(t, "slots 300")
	if got := shown(t, m); len(got) != 300 || got[299] != "-" {
		t.Errorf("%d slots", len(got))
	}
	openToken(t, m, tokens[0])
}
