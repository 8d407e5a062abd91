package csr

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
)

func TestVerifyPossession(t *testing.T) {
	challenge := must(NewChallenge(rand.Reader))
	signWith := func(key crypto.Signer, hash crypto.Hash, message []byte) []byte {
		h := hash.New()
		h.Write(message)
		return must(key.Sign(rand.Reader, h.Sum(nil), hash))
	}
	for _, k := range []struct {
		name string
		key  crypto.Signer
		hash crypto.Hash
	}{{"RSA", keyRSA(), crypto.SHA256}, {"P-256", keyP256(), crypto.SHA256}, {"P-384", keyP384(), crypto.SHA384}} {
		good := signWith(k.key, k.hash, challenge)
		for _, row := range []struct {
			name      string
			pub       crypto.PublicKey
			challenge []byte
			signature []byte
			hash      crypto.Hash
			want      error
		}{
			{"right", k.key.Public(), challenge, good, k.hash, nil},
			{"another key", keyOther().Public(), challenge, good, k.hash, ErrBadSignature},
			{"another challenge", k.key.Public(), must(NewChallenge(rand.Reader)), good, k.hash, ErrBadSignature},
			{"another hash", k.key.Public(), challenge, good, crypto.SHA512, ErrBadSignature},
			{"bit changed", k.key.Public(), challenge, flip(good, len(good)-1), k.hash, ErrBadSignature},
			{"empty signature", k.key.Public(), challenge, nil, k.hash, ErrBadSignature},
			{"bytes after it", k.key.Public(), challenge, append(bytes.Clone(good), 0), k.hash, ErrBadSignature},
			{"SHA-1", k.key.Public(), challenge, good, crypto.SHA1, ErrBadSignature},
			{"no hash", k.key.Public(), challenge, good, 0, ErrBadSignature},
			{"short challenge", k.key.Public(), challenge[:8], signWith(k.key, k.hash, challenge[:8]), k.hash, ErrBadSignature},
			{"no key", nil, challenge, good, k.hash, ErrUnsupportedKey},
			{"Ed25519", ed25519.PublicKey(make([]byte, 32)), challenge, good, k.hash, ErrUnsupportedKey},
		} {
			if err := VerifyPossession(row.pub, row.challenge, row.signature, row.hash); !errors.Is(err, row.want) {
				t.Errorf("%s, %s: got %v, want %v", k.name, row.name, err, row.want)
			}
		}
	}
}

func TestNewChallenge(t *testing.T) {
	a, b := must(NewChallenge(rand.Reader)), must(NewChallenge(rand.Reader))
	if bytes.Equal(a, b) || !bytes.HasPrefix(a, []byte(challengePrefix)) || len(a) != len(challengePrefix)+challengeRandom {
		t.Errorf("challenges %q and %q", a, b)
	}
	if _, err := NewChallenge(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("made from too little randomness")
	}
}
