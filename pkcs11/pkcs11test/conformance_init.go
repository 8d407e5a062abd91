package pkcs11test

import (
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

func (s suite) module(t *testing.T) {
	m, _ := s.fresh(t)
	info, err := m.Info(t.Context())
	check(t, err)
	if info.Manufacturer != "SoftHSM" || info.CryptokiVersion == "" || info.LibraryVersion == "" {
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
	token := openBlank(t, m)
	if id := token.Identity(); id.Serial != "" || id.SlotDescription == "" {
		t.Errorf("identity of the blank token is %+v", id)
	}
	info, err := token.Init(t.Context(), so(soPIN), "株式会社 Åsa")
	check(t, err)
	if info.Label != "株式会社 Åsa" || info.Serial == "" || !info.Initialized() {
		t.Errorf("token is %+v", info)
	}
	if got := token.Identity(); got != (pkcs11.Identity{Serial: info.Serial}) {
		t.Errorf("identity is %+v, want serial %q", got, info.Serial)
	}
	again, err := token.Info(t.Context())
	check(t, err)
	if again != info {
		t.Errorf("info is %+v, was %+v", again, info)
	}
	all := slots(t, m)
	if len(all) != 2 {
		t.Errorf("%d slots, want the token's and a free one", len(all))
	}
	openID(t, m, pkcs11.Identity{Serial: info.Serial})
	if out := b.Tool(t, "softhsm2-util", "--show-slots"); !strings.Contains(out, string(info.Serial)) {
		t.Errorf("softhsm2-util does not show serial %q:\n%s", info.Serial, out)
	}
}

func (s suite) initLabels(t *testing.T) {
	m, _ := s.fresh(t)
	token := openBlank(t, m)
	for _, label := range []pkcs11.TokenLabel{"", "ends in a blank ", "a\tb", "\xff", pkcs11.TokenLabel(strings.Repeat("x", 33))} {
		if _, err := token.Init(t.Context(), so(soPIN), label); err == nil {
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
	info, err := token.Init(t.Context(), so(soPIN), long)
	check(t, err)
	if info.Label != long {
		t.Errorf("label is %q", info.Label)
	}
}

func (s suite) initWrongPIN(t *testing.T) {
	m, _ := s.fresh(t)
	token := loggedIn(t, m, "before")
	generate(t, token, pkcs11.KeyID{1}, "key")
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
	token := loggedIn(t, m, "before")
	generate(t, token, pkcs11.KeyID{1}, "key")
	before := token.Identity()

	info, err := token.Init(t.Context(), so(soPIN), "after")
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
	check(t, token.LoginSO(t.Context(), so(soPIN)))
}

func (s suite) initSessionExists(t *testing.T) {
	m, _ := s.fresh(t)
	token := initialised(t, m, "label")
	other := openID(t, m, token.Identity())
	check(t, other.LoginSO(t.Context(), so(soPIN)))

	_, err := token.Init(t.Context(), so(soPIN), "again")
	wants(t, err, pkcs11.ErrSessionExists)
	check(t, other.Close())
	_, err = token.Init(t.Context(), so(soPIN), "again")
	check(t, err)
}

func (s suite) initTwo(t *testing.T) {
	m, _ := s.fresh(t)
	first := loggedIn(t, m, "same label")
	second := loggedIn(t, m, "same label")
	if first.Identity() == second.Identity() {
		t.Fatalf("both are %v", first.Identity())
	}
	generate(t, first, pkcs11.KeyID{1}, "of the first")
	generate(t, second, pkcs11.KeyID{2}, "of the second")
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
