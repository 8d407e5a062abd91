package cryptoki_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// reshuffleSeed is the variable that repeats one sequence: RESHUFFLE_SEED=17 go test -run TestReshuffle
const reshuffleSeed = "RESHUFFLE_SEED"

// samePIN is the user PIN of all tokens: it must not be what keeps them apart. The
// SO PINs differ, as C_InitToken names a slot and takes no session, so that nothing
// but its SO PIN holds it to a token whose slot is given to another at that moment.
const samePIN = "123456"

// TestReshuffle is the promise that everything rests on: whatever a module does to
// its slots, nothing is written to another token than the one that was named. Three
// tokens change slots again and again under operations drawn at random. Any of
// these may fail; what was done must have been done to the right token.
func TestReshuffle(t *testing.T) {
	first, sequences := uint64(1), uint64(250)
	if text := os.Getenv(reshuffleSeed); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", reshuffleSeed, err)
		}
		first, sequences = seed, 1
	}
	shim, factory := reshuffleFactory(t)
	certificate := pkcs11test.Certificate(t, "leaf")
	done := map[string]int{}
	for seed := first; seed < first+sequences; seed++ {
		t.Run(fmt.Sprintf("%s=%d", reshuffleSeed, seed), func(t *testing.T) {
			s := reshuffle{
				rng: rand.New(rand.NewPCG(seed, 0)), shim: shim, bay: restored(t, shim, factory), certificate: certificate,
				held: map[string]pkcs11.Token{}, kept: map[string]int{}, done: done,
			}
			s.identities(t)
			s.operate(t)
			s.check(t)
		})
	}
	if sequences == 1 {
		return
	}
	// A sequence in which nothing succeeds, or nothing is refused, shows nothing.
	for _, what := range []string{"user PIN", "key pair", "certificate", "destroy", "init", "refused"} {
		if done[what] < 50 {
			t.Errorf("only %d times in all: %s", done[what], what)
		}
	}
}

// reshuffleFactory is a bay behind the shim, and a folder with the tokens to put into
// it: three, each named by its label.
func reshuffleFactory(t *testing.T) (pkcs11test.Shim, string) {
	t.Helper()
	b := pkcs11test.NewBay(t)
	for _, name := range reshuffleNames() {
		b.InitToken(t, name, soPINOf(name), samePIN)
	}
	factory := t.TempDir()
	if err := os.CopyFS(factory, os.DirFS(filepath.Join(b.Dir, "tokens"))); err != nil {
		t.Fatal(err)
	}
	return pkcs11test.NewShim(t, b), factory
}

func reshuffleNames() []string { return []string{"A", "B", "C"} }

func soPINOf(name string) string { return "so-pin-of-" + name }

// restored is the bay without the shim, its tokens as they came from the factory.
func restored(t *testing.T, shim pkcs11test.Shim, factory string) pkcs11test.Bay {
	t.Helper()
	tokens := filepath.Join(shim.Dir, "tokens")
	if err := os.RemoveAll(tokens); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(tokens, os.DirFS(factory)); err != nil {
		t.Fatal(err)
	}
	b := shim.Bay
	b.Path = pkcs11test.SoftHSM(t)
	return b
}

// reshuffle is one sequence.
type reshuffle struct {
	rng         *rand.Rand
	shim        pkcs11test.Shim
	bay         pkcs11test.Bay
	certificate []byte
	id          map[string]pkcs11.Identity
	held        map[string]pkcs11.Token // those left open by an earlier operation
	kept        map[string]int          // how many objects each token has at least
	done        map[string]int          // how often each operation succeeded
}

// plain opens SoftHSM without the shim.
func (s *reshuffle) plain(t *testing.T, use func(m pkcs11.Module)) {
	t.Helper()
	for name, value := range s.bay.Env {
		t.Setenv(name, value)
	}
	m, err := cryptoki.Open(s.bay.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	use(m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s *reshuffle) identities(t *testing.T) {
	t.Helper()
	s.id = map[string]pkcs11.Identity{}
	s.plain(t, func(m pkcs11.Module) {
		slots, err := m.Slots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range slots {
			if slot.Token.Initialized() {
				s.id[string(slot.Token.Label)] = slot.Identity()
			}
		}
	})
	if len(s.id) != len(reshuffleNames()) {
		t.Fatalf("tokens are %v", s.id)
	}
}

// operate makes the operations behind the shim, under which two slots after another
// exchange their ids.
func (s *reshuffle) operate(t *testing.T) {
	t.Helper()
	s.shim.Rules(t, s.swaps()...)
	for name, value := range s.shim.Env {
		t.Setenv(name, value)
	}
	m, err := cryptoki.Open(s.shim.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	for range 12 {
		s.one(t.Context(), m)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if n := s.shim.Counted(t); n < 50 {
		t.Errorf("only %d calls were made", n)
	}
}

// swaps come at any call, but not within a few of each other: a module that gave a
// slot to another token twice between two calls would show one token when asked and
// be another when written to, and no asking would help.
func (s *reshuffle) swaps() []string {
	rules := []string{}
	for at := 1; len(rules) < 30; at += 8 + s.rng.IntN(8) {
		names := reshuffleNames()
		s.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		rules = append(rules, fmt.Sprintf("swap#%d %s %s", at, s.id[names[0]].Serial, s.id[names[1]].Serial))
	}
	return rules
}

// one makes one operation on one token, opened for it or still open.
func (s *reshuffle) one(ctx context.Context, m pkcs11.Module) {
	name := reshuffleNames()[s.rng.IntN(3)]
	token := s.held[name]
	if token == nil {
		var err error
		if token, err = m.Open(ctx, s.id[name]); err != nil {
			s.done["refused"]++
			return
		}
	}
	what, err := s.write(ctx, token, name)
	if err != nil {
		what = "refused"
	}
	s.done[what]++
	if s.held[name] = token; s.rng.IntN(2) == 0 {
		s.held[name] = nil
		_ = token.Close()
	}
}

func (s *reshuffle) write(ctx context.Context, token pkcs11.Token, name string) (what string, err error) {
	object := pkcs11.KeyID{1} // the same on all tokens
	switch n := s.rng.IntN(10); {
	case n < 2:
		if err = token.LoginSO(ctx, pkcs11.NewSOPIN(soPINOf(name))); err == nil {
			err = token.InitUserPIN(ctx, pkcs11.NewUserPIN(samePIN))
		}
		_ = token.Logout(ctx)
		return "user PIN", err
	case n < 5:
		if err = s.login(ctx, token); err == nil {
			_, err = token.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: quick(), ID: object, Label: name})
			s.keep(name, 2, err)
		}
		return "key pair", err
	case n < 8:
		if err = s.login(ctx, token); err == nil {
			err = token.WriteCertificate(ctx, pkcs11.CertificateObject{ID: object, Label: name, DER: s.certificate})
			s.keep(name, 1, err)
		}
		return "certificate", err
	case n < 9:
		if err = s.login(ctx, token); err == nil {
			_, err = token.Destroy(ctx, pkcs11.Query{ID: object})
			s.kept[name] = 0
		}
		return "destroy", err
	default:
		s.kept[name] = 0
		_, err = token.Init(ctx, pkcs11.NewSOPIN(soPINOf(name)), pkcs11.TokenLabel(fmt.Sprintf("%s %d", name, s.rng.IntN(100))))
		return "init", err
	}
}

// login logs in anew: a token left open may be logged in.
func (s *reshuffle) login(ctx context.Context, token pkcs11.Token) error {
	_ = token.Logout(ctx)
	return token.LoginUser(ctx, pkcs11.NewUserPIN(samePIN))
}

func (s *reshuffle) keep(name string, objects int, err error) {
	if err == nil {
		s.kept[name] += objects
	}
}

func quick() pkcs11.Algorithm {
	a, err := pkcs11.AlgorithmByName("ec-p256")
	if err != nil {
		panic(err) // it is built in
	}
	return a
}

// check reads every token through SoftHSM alone: its label and objects name the
// token itself, and none is missing that another token's operations may not touch.
func (s *reshuffle) check(t *testing.T) {
	t.Helper()
	s.plain(t, func(m pkcs11.Module) {
		for name, id := range s.id {
			token, err := m.Open(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			s.checkToken(t, name, token)
			if err := token.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func (s *reshuffle) checkToken(t *testing.T, name string, token pkcs11.Token) {
	t.Helper()
	info, err := token.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(info.Label), name) {
		t.Errorf("token %s was initialised as %q", name, info.Label)
	}
	if info.Flags.Has(pkcs11.FlagUserPINInitialized) {
		if err := token.LoginUser(t.Context(), pkcs11.NewUserPIN(samePIN)); err != nil {
			t.Fatal(err)
		}
	}
	objects, err := token.Objects(t.Context(), pkcs11.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) < s.kept[name] && info.Flags.Has(pkcs11.FlagUserPINInitialized) {
		t.Errorf("token %s has %d objects, at least %d were written and not destroyed", name, len(objects), s.kept[name])
	}
	for _, o := range objects {
		if o.Label != name {
			t.Errorf("token %s has an object meant for %s", name, o.Label)
		}
	}
}
