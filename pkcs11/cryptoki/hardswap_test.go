package cryptoki_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// hardSwapSeed is the variable that repeats one run: HARDSWAP_SEED=17 go test -run TestHardSwaps
const hardSwapSeed = "HARDSWAP_SEED"

// TestHardSwaps has tokens change places between operations without the module
// noticing: an open session, logged in, is another token's from then on. All tokens are
// open and logged in, so that no PIN stands in the way. No write may land on another
// token than the one that was named.
//
// What no asking can prevent is a swap between the C_GetTokenInfo that verifies and the
// call that writes: TestHardSwapInTheWindow.
func TestHardSwaps(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv(hardSwapSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", hardSwapSeed, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	b := pkcs11test.NewBay(t)
	tokens := b.InitTokens(t, 3)
	shim := pkcs11test.NewShim(t, b)
	shim.Env["SHIM_CALLS"] = os.DevNull
	der := pkcs11test.Certificate(t, "leaf")
	done, refused := 0, 0
	t.Run("operations", func(t *testing.T) {
		m := open(t, shim.Bay)
		for range 200 {
			shim.Rules(t)
			held := make([]pkcs11.Token, len(tokens))
			for i, k := range tokens {
				held[i] = openToken(t, m, k)
				must(t, held[i].LoginUser(t.Context(), pkcs11.NewUserPIN(k.User)))
			}
			for range 4 {
				i, j := rng.IntN(len(tokens)), rng.IntN(len(tokens))
				rules := []string{}
				for range rng.IntN(3) {
					rules = append(rules, pkcs11test.SwappedHard(tokens[i].Serial, tokens[j].Serial))
					j = rng.IntN(len(tokens))
				}
				shim.Rules(t, rules...)
				k := rng.IntN(len(tokens))
				if err := writeNamed(t, held[k], tokens[k], der, rng.IntN(5)); err != nil {
					refused++
				} else {
					done++
				}
			}
			shim.Rules(t)
			for _, k := range held {
				must(t, k.Close())
			}
		}
	})
	if done < 100 || refused < 100 {
		t.Errorf("%d operations were done and %d refused: that shows nothing", done, refused)
	}
	checkNamed(t, b, tokens)
}

// writeNamed writes something that bears the token's label, or destroys what is there.
func writeNamed(t *testing.T, token pkcs11.Token, k pkcs11test.TestToken, der []byte, what int) error {
	id := pkcs11.KeyID{1}
	var err error
	switch what {
	case 0:
		_, err = token.Destroy(t.Context(), pkcs11.Query{ID: id})
	case 1, 2:
		_, err = token.GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{Algorithm: p256(t), ID: id, Label: string(k.Label)})
	default:
		err = token.WriteCertificate(t.Context(), pkcs11.CertificateObject{ID: id, Label: string(k.Label), DER: der})
	}
	return err
}

// checkNamed reads every token through SoftHSM alone: what is on it was meant for it.
func checkNamed(t *testing.T, b pkcs11test.Bay, tokens []pkcs11test.TestToken) {
	t.Helper()
	m := open(t, b)
	found := 0
	for _, k := range tokens {
		objects, err := loggedIn(t, m, k).Objects(t.Context(), pkcs11.Query{})
		must(t, err)
		found += len(objects)
		for _, o := range objects {
			if o.Label != string(k.Label) {
				t.Errorf("token %s has an object meant for %s", k.Label, o.Label)
			}
		}
	}
	if found == 0 {
		t.Error("nothing is there to be looked at")
	}
}

// TestHardSwapInTheWindow is what remains: PKCS#11 has no call that verifies and writes
// at once, and none that names the token of a session but C_GetSessionInfo with
// C_GetTokenInfo of its slot, which are calls of their own. A module that gives a session
// to another token right between these and the write, both being logged in, writes to the
// wrong one. What follows notices: each further write, and each look at the token (as
// the last step of a job takes), verifies anew and is refused.
func TestHardSwapInTheWindow(t *testing.T) {
	b := pkcs11test.NewBay(t)
	tokens := b.InitTokens(t, 2)
	shim := pkcs11test.NewShim(t, b)
	for name, value := range shim.Env {
		t.Setenv(name, value)
	}
	m, err := cryptoki.Open(shim.Path, "")
	must(t, err)
	first, second := loggedIn(t, m, tokens[0]), loggedIn(t, m, tokens[1])
	const write = 2 // C_GetTokenInfo, C_GenerateKeyPair
	shim.Rules(t, fmt.Sprintf("swap-hard#%d %s %s", write, tokens[0].Serial, tokens[1].Serial))
	if err := generate(t, first, 1); err != nil {
		t.Errorf("refused, so that the window is closed and this test can go: %v", err)
	}
	wants(t, writeNamed(t, first, tokens[0], pkcs11test.Certificate(t, "leaf"), 4), pkcs11.ErrTokenReplaced)
	_, err = second.Info(t.Context())
	wants(t, err, pkcs11.ErrTokenReplaced)
	shim.Rules(t)
	if hasKey(t, m, tokens[0]) || !hasKey(t, m, tokens[1]) {
		t.Error("the shim did not swap where it was told to")
	}
	must(t, m.Close())
}
