package provision

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// asMadeProfile is of a model like YubiKeys: it is not initialised, its user PIN is
// changed, and it makes keys under a CKA_ID of its own.
func asMadeProfile(pkcs11.TokenInfo) (TokenProfile, error) {
	return TokenProfile{
		Name: "as-made", SOPIN: PINPolicy{Length: 48, Alphabet: "0123456789abcdef"}, WorstKeyGeneration: time.Minute,
		FactorySOPIN: pkcs11.NewSOPIN("87654321"), FactoryUserPIN: pkcs11.NewUserPIN("123456"),
		AsMade: true, UserPIN: UserPINChange, KeyID: pkcs11.KeyID{1}, CAKeyIDs: []pkcs11.KeyID{{5}, {6}},
	}, nil
}

// asMadeToken makes a token with both PINs set, as YubiKeys come.
func (s *station) asMadeToken(t *testing.T) {
	t.Helper()
	s.factoryToken(t)
	ctx, m := t.Context(), s.module()
	token, err := m.Open(ctx, pkcs11.Identity{Serial: s.initialised(t).Serial})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(token.LoginSO(ctx, pkcs11.NewSOPIN("87654321")), token.InitUserPIN(ctx, pkcs11.NewUserPIN("123456")), token.Close(), m.Close())
	if err != nil {
		t.Fatal(err)
	}
}

// asMade journals a job for a token as its maker delivers it.
func (s *station) asMade(t *testing.T) *Record {
	t.Helper()
	s.runner.TokenProfile = asMadeProfile
	rec := s.create(s.module(), 1)
	s.asMadeToken(t)
	rec.Token.Identity = pkcs11.Identity{Serial: s.initialised(t).Serial}
	return rec
}

func TestTokenThatIsUsedAsMade(t *testing.T) {
	s := newStation(t)
	rec := s.asMade(t)
	if err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	s.checkToken(rec)
	if label := s.initialised(t).Label; label != "factory" {
		t.Errorf("label is %q: the token was initialised", string(label))
	}
	if !rec.Facts.KeyID.Equal(pkcs11.KeyID{1}) {
		t.Errorf("key has the CKA_ID %s", rec.Facts.KeyID)
	}
	aside, _, err := s.runner.Journal.SetAside()
	if err != nil || !slices.Contains(aside, rec.Token) {
		t.Errorf("set aside are %v (%v): nothing else says that the token was written", aside, err)
	}
}

// TestFactoryUserPINIsWrong: the token was used before; its PIN is not tried twice.
func TestFactoryUserPINIsWrong(t *testing.T) {
	s := newStation(t)
	rec := s.asMade(t)
	s.runner.TokenProfile = func(info pkcs11.TokenInfo) (TokenProfile, error) {
		p, err := asMadeProfile(info)
		p.FactoryUserPIN = pkcs11.NewUserPIN("654321")
		return p, err
	}
	err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{})
	if !errors.Is(err, ErrFactoryUserPIN) || rec.State != StateQuarantined {
		t.Errorf("error is %v, state %s", err, rec.State)
	}
}

// TestOtherLabel: a token that was initialised behind the job's back shows the same
// serial and is not the job's any more.
func TestOtherLabel(t *testing.T) {
	s := newStation(t)
	rec := s.create(s.module(), 1)
	s.central.bindError = errors.New("no network")
	if err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{}); err == nil {
		t.Fatal("the job finished without a certificate")
	}
	ctx, m := t.Context(), s.module()
	token, err := m.Open(ctx, rec.Token.Identity)
	if err != nil {
		t.Fatal(err)
	}
	so := pkcs11.NewSOPIN(s.openPIN(s.central.escrowed[rec.Facts.EscrowID].Envelope))
	if _, err := token.Init(ctx, so, "someone else's"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(token.Close(), m.Close()); err != nil {
		t.Fatal(err)
	}
	s.central.bindError = nil
	if err := s.runner.Run(ctx, rec, s.module(), alwaysOurs{}); !errors.Is(err, pkcs11.ErrTokenReplaced) || rec.State != StateParked {
		t.Errorf("error is %v, state %s", err, rec.State)
	}
}

// TestDeadlinesOfTheModel: a call that takes longer than its model may is hung,
// whatever the process would let pass.
func TestDeadlinesOfTheModel(t *testing.T) {
	for _, row := range []struct {
		rule    string
		profile TokenProfile
		want    error
	}{
		{"C_Login wait 400", TokenProfile{WorstCall: 100 * time.Millisecond}, pkcs11.ErrModuleHung},
		{"C_InitToken wait 400", TokenProfile{WorstInit: 100 * time.Millisecond}, pkcs11.ErrModuleHung},
		{"C_GenerateKeyPair wait 400", TokenProfile{WorstKeyGeneration: 100 * time.Millisecond}, pkcs11.ErrModuleHung},
		{"C_GenerateKeyPair wait 400", TokenProfile{WorstCall: 300 * time.Millisecond, WorstKeyGeneration: 20 * time.Second}, nil},
	} {
		t.Run(row.rule, func(t *testing.T) {
			s := newStation(t)
			shim := pkcs11test.NewShim(t, s.bay)
			s.bay = shim.Bay
			s.runner.TokenProfile = func(pkcs11.TokenInfo) (TokenProfile, error) {
				p := row.profile
				p.Name, p.SOPIN = "timed", PINPolicy{Length: 16, Alphabet: "0123456789"}
				return p, nil
			}
			rec := s.create(s.module(), 1)
			shim.Rules(t, row.rule)
			if err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{}); !errors.Is(err, row.want) {
				t.Errorf("error is %v, want %v", err, row.want)
			}
		})
	}
}

// TestSOPINIsProved: a token that says that it has a new SO PIN and has not is found out,
// also where nobody needs that PIN any more.
func TestSOPINIsProved(t *testing.T) {
	s := newStation(t)
	rec := s.asMade(t)
	shim := pkcs11test.NewShim(t, s.bay)
	s.bay = shim.Bay
	shim.Rules(t, "C_SetPIN#1 return 0x0") // which it says without doing it
	if err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{}); !errors.Is(err, ErrReadBack) || rec.State != StateQuarantined {
		t.Errorf("error is %v, state %s", err, rec.State)
	}
}

// TestWrongPINsDoNotAddUp: a module that dies at the factory PIN again and again is not
// shown one wrong PIN after another meanwhile, nor that PIN for ever.
func TestWrongPINsDoNotAddUp(t *testing.T) {
	s := newStation(t)
	rec := s.asMade(t)
	shim := pkcs11test.NewShim(t, s.bay)
	s.bay = shim.Bay
	a := &attempt{station: s, cell: cell{scene: &scene{}}}
	shim.Rules(t, "C_Login#4 segv") // after both of the SO PIN and the proof of the new one
	for range 5 {
		if err := s.runner.Run(t.Context(), rec, watchedModule{s.module(), t, a}, alwaysOurs{}); err == nil || rec.State.Final() {
			break
		}
		shim.Rules(t, "C_Login#1 segv")
	}
	if a.logins.worst > 1 {
		t.Errorf("%d wrong PINs in a row", a.logins.worst)
	}
	if rec.State != StateQuarantined || !strings.Contains(rec.Reason, ErrFactoryTried.Error()) {
		t.Errorf("state %s at %s: %s", rec.State, rec.Step, rec.Reason)
	}
}

// TestReaderHoldsABlankToken: a token that shows no serial before it is initialised, and
// one that all of its model show after, is held by its reader from then on.
func TestReaderHoldsABlankToken(t *testing.T) {
	s := newStation(t)
	shim := pkcs11test.NewShim(t, s.bay)
	s.bay = shim.Bay
	s.runner.TokenProfile = func(pkcs11.TokenInfo) (TokenProfile, error) {
		return TokenProfile{Name: "alike", Identity: ByReader, SOPIN: PINPolicy{Length: 16, Alphabet: "0123456789"}, WorstKeyGeneration: time.Minute}, nil
	}
	m := s.module()
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	if id := rec.Token.Identity; id.Serial == "" || id.SlotDescription == "" {
		t.Errorf("the token is held as %+v", id)
	}
}
