package pkcs11test

import (
	"cmp"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

func (s suite) module(t *testing.T) {
	m, _ := s.fresh(t)
	info, err := m.Info(t.Context())
	check(t, err)
	if info.Manufacturer != cmp.Or(s.opts.Manufacturer, "SoftHSM") || info.CryptokiVersion == "" || info.LibraryVersion == "" {
		t.Errorf("module info is %+v", info)
	}
}

func (s suite) blankSlot(t *testing.T) {
	m, _ := s.fresh(t)
	all := slots(t, m)
	if len(all) != 1 || all[0].Token == nil || all[0].Fault != nil {
		t.Fatalf("slots are %+v, want one with a token", all)
	}
	token := *all[0].Token
	if token.Initialized() || token.Serial != "" || token.Label != "" || all[0].Description == "" {
		t.Errorf("slot %q shows %+v, want a blank token", all[0].Description, token)
	}
	// SoftHSM sets CKF_SO_PIN_LOCKED on a blank token; it must not stand in the way.
	if !token.Flags.Has(pkcs11.FlagSOPINLocked) {
		t.Errorf("flags are %#x; this SoftHSM no longer shows the quirk that Init is tested against", token.Flags)
	}
}

func (s suite) openToken(t *testing.T) {
	m, _ := s.fresh(t)
	for name, id := range map[string]pkcs11.Identity{
		"unknown serial": {Serial: "no such serial"},
		"unknown slot":   {SlotDescription: "no such slot"},
		"nothing":        {},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.Open(t.Context(), id)
			wants(t, err, pkcs11.ErrNotFound)
		})
	}
}

func (s suite) init(t *testing.T) {
	m, b := s.fresh(t)
	token := s.openBlank(t, m)
	want := len(slots(t, m)) + 1 // the token's and again a free one
	if s.opts.Quirks.NoBlankSlot {
		want--
	}
	if id := token.Identity(); id.Serial != s.opts.Quirks.ConstantSerial || id.SlotDescription == "" {
		t.Errorf("identity of the blank token is %+v", id)
	}
	info, err := token.Init(t.Context(), so(s.soPIN), "株式会社 Åsa")
	check(t, err)
	if info.Label != "株式会社 Åsa" || info.Serial == "" || !info.Initialized() {
		t.Errorf("token is %+v", info)
	}
	id := token.Identity()
	if id.Serial != info.Serial || (id.SlotDescription != "") != (s.opts.Quirks.ConstantSerial != "") {
		t.Errorf("identity is %+v, want serial %q", id, info.Serial)
	}
	again, err := token.Info(t.Context())
	check(t, err)
	if again != info {
		t.Errorf("info is %+v, was %+v", again, info)
	}
	if n := len(slots(t, m)); n != want {
		t.Errorf("%d slots, want %d", n, want)
	}
	openID(t, m, id)
	if b.Path == "" {
		return
	}
	// A second opinion.
	out := b.Tool(t, "pkcs11-tool", "--module", b.Path, "--list-slots")
	if !strings.Contains(out, string(info.Serial)) || !strings.Contains(out, string(info.Label)) {
		t.Errorf("pkcs11-tool does not show serial %q:\n%s", info.Serial, out)
	}
}

func (s suite) initLabels(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.openBlank(t, m)
	for _, label := range []pkcs11.TokenLabel{"", "ends in a blank ", "a\tb", "\xff", pkcs11.TokenLabel(strings.Repeat("x", 33))} {
		if _, err := token.Init(t.Context(), so(s.soPIN), label); err == nil {
			t.Errorf("label %q is accepted", label)
		}
	}
	_, err := token.Init(t.Context(), so(""), "label")
	wants(t, err, pkcs11.ErrPINInvalid)
	// SoftHSM takes 4 to 255 bytes and calls a shorter PIN incorrect here.
	if _, err = token.Init(t.Context(), so("123"), "label"); err == nil {
		t.Error("a SO PIN of three bytes is accepted")
	}

	long := pkcs11.TokenLabel(strings.Repeat("x", 32))
	info, err := token.Init(t.Context(), so(s.soPIN), long)
	check(t, err)
	if info.Label != long {
		t.Errorf("label is %q", info.Label)
	}
}

func (s suite) initWrongPIN(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "before")
	s.generate(t, token, pkcs11.KeyID{1}, "key")
	before := token.Identity()

	_, err := token.Init(t.Context(), so(otherSOPIN), "after")
	wants(t, err, pkcs11.ErrPINIncorrect)

	if token.Identity() != before {
		t.Errorf("identity is %v, was %v", token.Identity(), before)
	}
	info, err := token.Info(t.Context())
	check(t, err)
	if info.Label != "before" {
		t.Errorf("label is %q", info.Label)
	}
	check(t, token.LoginUser(t.Context(), user(userPIN)))
	if n := len(objects(t, token, pkcs11.Query{})); n != 2 {
		t.Errorf("%d objects, want both halves of the key", n)
	}
}

func (s suite) initAgain(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "before")
	s.generate(t, token, pkcs11.KeyID{1}, "key")
	before := token.Identity()

	info, err := token.Init(t.Context(), so(s.soPIN), "after")
	check(t, err)
	if token.Identity() != before || info.Label != "after" {
		t.Errorf("token is %v with label %q, was %v", token.Identity(), info.Label, before)
	}
	if n := len(objects(t, token, pkcs11.Query{})); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	if err := token.LoginUser(t.Context(), user(userPIN)); err == nil {
		t.Error("the user PIN survived")
	}
	check(t, token.LoginSO(t.Context(), so(s.soPIN)))
}

func (s suite) initSessionExists(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.initialised(t, m, "label")
	other := openID(t, m, token.Identity())
	check(t, other.LoginSO(t.Context(), so(s.soPIN)))

	_, err := token.Init(t.Context(), so(s.soPIN), "again")
	wants(t, err, pkcs11.ErrSessionExists)
	check(t, other.Close())
	_, err = token.Init(t.Context(), so(s.soPIN), "again")
	check(t, err)
}

// initSessionLeft: a session whose end failed, or whose beginning failed and took
// effect, is open, and nobody has its handle.
func (s suite) initSessionLeft(t *testing.T) {
	m, shim := s.shimmed(t)
	token := s.initialised(t, m, "label")
	id := token.Identity()
	leave := map[string]func(){
		"closing failed": func() {
			shim.Rules(t, "C_CloseSession return 0x30")
			wants(t, token.Close(), pkcs11.ErrDevice)
		},
		"opening failed": func() {
			check(t, token.Close())
			shim.Rules(t, "C_OpenSession then 0x30")
			_, err := m.Open(t.Context(), id)
			wants(t, err, pkcs11.ErrDevice)
		},
	}
	for how, left := range leave {
		left()
		shim.Rules(t)
		token = openID(t, m, id)
		info, err := token.Init(t.Context(), so(s.soPIN), pkcs11.TokenLabel(how))
		check(t, err)
		if info.Label != pkcs11.TokenLabel(how) {
			t.Errorf("%s: the label is %q", how, info.Label)
		}
	}
}

func (s suite) initTwo(t *testing.T) {
	m, _ := s.fresh(t)
	first := s.loggedIn(t, m, "same label")
	second := s.loggedIn(t, m, "same label")
	if first.Identity() == second.Identity() {
		t.Fatalf("both are %v", first.Identity())
	}
	s.generate(t, first, pkcs11.KeyID{1}, "of the first")
	s.generate(t, second, pkcs11.KeyID{2}, "of the second")
	for _, c := range []struct {
		token pkcs11.Token
		label string
	}{{first, "of the first"}, {second, "of the second"}} {
		keys := objects(t, c.token, pkcs11.Query{Class: of(pkcs11.ClassPrivateKey)})
		if len(keys) != 1 || keys[0].Label != c.label {
			t.Errorf("%v holds %+v, want the key %s", c.token.Identity(), keys, c.label)
		}
	}
}
