package pkcs11test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Quirks are how a module differs from SoftHSM. The suite leaves out what a quirk
// makes impossible, and fails when one that is declared does not show, so that what
// is said of a module stays true.
type Quirks struct {
	// FactorySOPIN is the SO PIN that blank tokens have; C_InitToken wants it, and does
	// not replace it (openCryptoki).
	FactorySOPIN string
	// InitBreaksSOPIN: C_InitToken by an SO PIN that was changed leaves a token that no
	// SO PIN opens any more (openCryptoki 3.8.1).
	InitBreaksSOPIN bool
	// ConstantSerial is the serial that every token shows, a blank one too.
	ConstantSerial pkcs11.TokenSerial
	// NoBlankSlot: no free slot takes the place of one that was initialised.
	NoBlankSlot bool
	// NoEC: there are no elliptic curves.
	NoEC bool
	// EmptySOPIN: the SO PIN must be empty (NSS), and a login without a PIN is not made
	// here, as elsewhere it means a PIN pad. So tokens cannot be provisioned: they come
	// with a user PIN.
	EmptySOPIN bool
	// KeepsLabel: C_InitToken succeeds and does not write the label (NSS).
	KeepsLabel bool
	// OneLogin: a login on one token stands in the way of those on all others of the
	// process (openCryptoki's soft tokens).
	OneLogin bool
	// OneKeyForID: a key pair takes the place of the one that had its CKA_ID (NSS).
	OneKeyForID bool
	// LocalNo: keys that were generated on the token say CKA_LOCAL false.
	LocalNo bool
}

// quirks: each that is declared shows; LocalNo does in the part keys.
func (s suite) quirks(t *testing.T) {
	q := s.opts.Quirks
	for _, quirk := range []struct {
		name     string
		declared bool
		shows    func(*testing.T)
	}{
		{"factory SO PIN", q.FactorySOPIN != "", s.showsFactorySOPIN},
		{"init breaks the SO PIN", q.InitBreaksSOPIN, s.showsInitBreaksSOPIN},
		{"constant serial", q.ConstantSerial != "", s.showsConstantSerial},
		{"no blank slot", q.NoBlankSlot, s.showsNoBlankSlot},
		{"no EC", q.NoEC, s.showsNoEC},
		{"empty SO PIN", q.EmptySOPIN, s.showsEmptySOPIN},
		{"keeps its label", q.KeepsLabel, s.showsKeepsLabel},
		{"one key for a CKA_ID", q.OneKeyForID, s.showsOneKeyForID},
		{"one login", q.OneLogin, s.showsOneLogin},
	} {
		if quirk.declared {
			t.Run(quirk.name, quirk.shows)
		}
	}
}

func (s suite) showsFactorySOPIN(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.openBlank(t, m)
	_, err := token.Init(t.Context(), so(otherSOPIN), "label")
	wants(t, err, pkcs11.ErrPINIncorrect)
	check(t, token.LoginSO(t.Context(), so(s.soPIN))) // before it is initialised at all
	_, err = token.Init(t.Context(), so(s.soPIN), "label")
	check(t, err)
	check(t, token.LoginSO(t.Context(), so(s.soPIN)))
}

// showsInitBreaksSOPIN: the initialisation says that all is well.
func (s suite) showsInitBreaksSOPIN(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.initialised(t, m, "before")
	ctx := t.Context()
	check(t, token.LoginSO(ctx, so(s.soPIN)))
	check(t, token.SetSOPIN(ctx, so(s.soPIN), so(otherSOPIN)))
	check(t, token.Logout(ctx))
	_, err := token.Init(ctx, so(otherSOPIN), "after")
	check(t, err)
	wants(t, token.LoginSO(ctx, so(otherSOPIN)), pkcs11.ErrGeneral) // CKR_FUNCTION_FAILED
	wants(t, token.LoginSO(ctx, so(s.soPIN)), pkcs11.ErrPINIncorrect)
}

func (s suite) showsConstantSerial(t *testing.T) {
	m, _ := s.fresh(t)
	present := 0
	for _, slot := range slots(t, m) {
		if slot.Token == nil {
			continue
		}
		present++
		if slot.Token.Serial != s.opts.Quirks.ConstantSerial {
			t.Errorf("slot %q shows serial %q", slot.Description, slot.Token.Serial)
		}
	}
	if present < 2 {
		t.Fatalf("%d tokens are there; it takes two to show the same serial", present)
	}
	_, err := m.Open(t.Context(), pkcs11.Identity{Serial: s.opts.Quirks.ConstantSerial})
	wants(t, err, pkcs11.ErrAmbiguous)
}

func (s suite) showsNoBlankSlot(t *testing.T) {
	m, _ := s.fresh(t)
	before := len(slots(t, m))
	s.initialised(t, m, "label")
	if now := len(slots(t, m)); now != before {
		t.Errorf("%d slots, %d before", now, before)
	}
}

func (s suite) showsNoEC(t *testing.T) {
	m, _ := s.fresh(t)
	_, err := s.loggedIn(t, m, "label").GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{Algorithm: algorithm(t, "ec-p256")})
	wants(t, err, pkcs11.ErrUnsupported)
}

// showsEmptySOPIN: the module takes no SO PIN, and ours does not try without one.
func (s suite) showsEmptySOPIN(t *testing.T) {
	b := newNSS(t)
	token := openID(t, s.open(t, b), pkcs11.Identity{Serial: s.opts.Quirks.ConstantSerial, SlotDescription: nssSlot})
	wants(t, token.LoginSO(t.Context(), so("")), pkcs11.ErrPINInvalid)
	wants(t, token.LoginSO(t.Context(), so(soPIN)), pkcs11.ErrPINIncorrect)
}

// showsKeepsLabel: the token that was asked for is not to be found afterwards.
func (s suite) showsKeepsLabel(t *testing.T) {
	m, _ := s.fresh(t)
	slot := s.provisioned(t, m)
	token := openID(t, m, s.identity(slot))
	_, err := token.Init(t.Context(), so(soPIN), "another label")
	wants(t, err, pkcs11.ErrTokenRemoved)
	for _, now := range slots(t, m) {
		if now.Description == slot.Description && now.Token.Label != slot.Token.Label {
			t.Errorf("label is %q, was %q", now.Token.Label, slot.Token.Label)
		}
	}
}

func (s suite) showsOneLogin(t *testing.T) {
	m, _ := s.fresh(t)
	first, second := s.loggedIn(t, m, "first"), s.initialised(t, m, "second")
	err := second.LoginSO(t.Context(), so(s.soPIN))
	if e, ok := errors.AsType[*pkcs11.Error](err); !ok || e.Code != 0x104 { // CKR_USER_ANOTHER_ALREADY_LOGGED_IN
		t.Errorf("error is %v", err)
	}
	check(t, first.Logout(t.Context()))
	check(t, second.LoginSO(t.Context(), so(s.soPIN)))
}

func (s suite) showsOneKeyForID(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	id := pkcs11.KeyID{2}
	first := s.generate(t, token, id, "first")
	second := s.generate(t, token, id, "second")
	if left := objects(t, token, pkcs11.Query{Class: of(pkcs11.ClassPrivateKey), ID: id}); len(left) != 1 {
		t.Errorf("%d private keys have the id", len(left))
	}
	if bytes.Equal(first.PublicKey, second.PublicKey) {
		t.Error("the first key was made again")
	}
	checkSignature(t, token, second, s.quick(t))
}

// identity is how the token in a slot is opened: by slot too where all show one serial.
func (s suite) identity(slot pkcs11.Slot) pkcs11.Identity {
	id := slot.Identity()
	if s.opts.Quirks.ConstantSerial != "" {
		id.SlotDescription = slot.Description
	}
	return id
}

// provisioned is the slot whose token has a user PIN.
func (s suite) provisioned(t *testing.T, m pkcs11.Module) pkcs11.Slot {
	t.Helper()
	for _, slot := range slots(t, m) {
		if slot.Token != nil && slot.Token.Flags.Has(pkcs11.FlagUserPINInitialized) {
			return slot
		}
	}
	t.Fatal("there is no token with a user PIN")
	return pkcs11.Slot{}
}
