package pkcs11test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// quick is an algorithm whose keys are made quickly.
func (s suite) quick(t *testing.T) pkcs11.Algorithm {
	t.Helper()
	if s.opts.Quirks.NoEC {
		return algorithm(t, "rsa2048")
	}
	return algorithm(t, "ec-p256")
}

// algorithms are those that keys are made of.
func (s suite) algorithms() []pkcs11.Algorithm {
	if s.opts.Algorithms != nil {
		return s.opts.Algorithms
	}
	return pkcs11.Algorithms()
}

func (s suite) keys(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	for i, a := range s.algorithms() {
		t.Run(a.Name, func(t *testing.T) {
			if testing.Short() && a.ModulusBits > 2048 {
				t.Skip("slow, and -short was asked for")
			}
			id := pkcs11.KeyID{0x10, byte(i)}
			public, err := token.GenerateKeyPair(t.Context(), pkcs11.KeyPairTemplate{Algorithm: a, ID: id, Label: "key " + a.Name})
			check(t, err)
			if public.Class != pkcs11.ClassPublicKey || !public.ID.Equal(id) || public.Label != "key "+a.Name {
				t.Errorf("public key is %+v", public)
			}
			checkSize(t, public.PublicKey, a)
			if private := objects(t, token, pkcs11.Query{Class: of(pkcs11.ClassPrivateKey), ID: id}); len(private) != 1 || private[0].Claims != public.Claims {
				t.Errorf("made with the claims %+v, listed as %+v", public.Claims, private)
			}
			s.checkClaims(t, token, id)
			for _, o := range objects(t, token, pkcs11.Query{ID: id, Shallow: true}) {
				if o.Class != pkcs11.ClassPublicKey && o.Class != pkcs11.ClassPrivateKey || o.Label != public.Label || o.PublicKey != nil {
					t.Errorf("at a glance: %+v", o)
				}
			}
			checkSignature(t, token, public, a)

			listed := objects(t, token, pkcs11.Query{Class: of(pkcs11.ClassPublicKey), ID: id})
			if len(listed) != 1 || !bytes.Equal(listed[0].PublicKey, public.PublicKey) {
				t.Errorf("listed as %+v, generated as %+v", listed, public)
			}
		})
	}
}

func checkSize(t *testing.T, spki []byte, a pkcs11.Algorithm) {
	t.Helper()
	key, err := x509.ParsePKIXPublicKey(spki)
	check(t, err)
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() != a.ModulusBits || k.E != 65537 {
			t.Errorf("RSA key of %d bits with exponent %d", k.N.BitLen(), k.E)
		}
	case *ecdsa.PublicKey:
		if a.KeyType != pkcs11.KeyTypeEC {
			t.Errorf("EC key for %s", a.Name)
		}
	default:
		t.Errorf("key is a %T", key)
	}
}

func (s suite) checkClaims(t *testing.T, token pkcs11.Token, id pkcs11.KeyID) {
	t.Helper()
	private := objects(t, token, pkcs11.Query{Class: of(pkcs11.ClassPrivateKey), ID: id})
	want := pkcs11.KeyClaims{
		Private: pkcs11.ClaimYes, Sensitive: pkcs11.ClaimYes, Extractable: pkcs11.ClaimNo,
		AlwaysSensitive: pkcs11.ClaimYes, NeverExtractable: pkcs11.ClaimYes, Local: pkcs11.ClaimYes, Sign: pkcs11.ClaimYes,
	}
	if s.opts.Quirks.LocalNo {
		want.Local = pkcs11.ClaimNo
	}
	if len(private) != 1 || private[0].Claims != want {
		t.Errorf("private keys are %+v, want one with %+v", private, want)
	}
}

// checkSignature has Go verify what the token signed.
func checkSignature(t *testing.T, token pkcs11.Token, public pkcs11.Object, a pkcs11.Algorithm) {
	t.Helper()
	signer, err := pkcs11.NewSigner(t.Context(), token, public, a)
	check(t, err)
	h := a.Hash.New()
	h.Write([]byte("what is signed"))
	digest := h.Sum(nil)
	signature, err := signer.Sign(rand.Reader, digest, a.Hash)
	check(t, err)
	if !verifies(signer.Public(), a.Hash, digest, signature) {
		t.Errorf("signature %x does not verify", signature)
	}
	digest[0] ^= 1
	if verifies(signer.Public(), a.Hash, digest, signature) {
		t.Error("the signature verifies over another digest")
	}
}

func verifies(key crypto.PublicKey, hash crypto.Hash, digest, signature []byte) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, signature)
	default:
		return false
	}
}

// parameter is the attribute without which there is no key of an algorithm.
func parameter(a pkcs11.Algorithm) string {
	if a.KeyType == pkcs11.KeyTypeEC {
		return "CKA_EC_PARAMS"
	}
	return "CKA_MODULUS_BITS"
}

func (s suite) keyRefusals(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	ctx := t.Context()
	good := pkcs11.KeyPairTemplate{Algorithm: s.quick(t), ID: pkcs11.KeyID{1}, Label: "key"}

	for _, c := range []struct {
		name  string
		spoil func(*pkcs11.KeyPairTemplate)
		want  error
	}{
		{"unknown mechanism", func(k *pkcs11.KeyPairTemplate) { k.Algorithm.Generate = 0x80001234 }, pkcs11.ErrUnsupported},
		{"neither curve nor size", func(k *pkcs11.KeyPairTemplate) { k.Omit = []string{parameter(k.Algorithm)} }, pkcs11.ErrTemplateRefused},
		{"misspelt omission", func(k *pkcs11.KeyPairTemplate) { k.Omit = []string{"CKA_EXTRACTIBLE"} }, pkcs11.ErrTemplateRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := good
			c.spoil(&k)
			_, err := token.GenerateKeyPair(ctx, k)
			wants(t, err, c.want)
		})
	}
	if left := objects(t, token, pkcs11.Query{}); len(left) != 0 {
		t.Errorf("refused templates left %+v", left)
	}

	t.Run("omitted label", func(t *testing.T) {
		k := good
		k.Omit = []string{"CKA_LABEL", "CKA_EXTRACTABLE"}
		o, err := token.GenerateKeyPair(ctx, k)
		check(t, err)
		if o.Label != "" {
			t.Errorf("label is %q", o.Label)
		}
	})
	t.Run("without login", func(t *testing.T) {
		check(t, token.Logout(ctx))
		_, err := token.GenerateKeyPair(ctx, good)
		wants(t, err, pkcs11.ErrNotLoggedIn)
	})
}

func (s suite) sign(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	ctx := t.Context()
	alg := s.quick(t)
	digest := make([]byte, alg.Hash.Size())
	one, twin := pkcs11.KeyID{1}, pkcs11.KeyID{2}
	s.generate(t, token, one, "one")

	_, err := token.Sign(ctx, one, alg.Sign, digest)
	check(t, err)
	_, err = token.Sign(ctx, pkcs11.KeyID{9}, alg.Sign, digest)
	wants(t, err, pkcs11.ErrNotFound)
	_, err = token.Sign(ctx, nil, alg.Sign, digest)
	wants(t, err, pkcs11.ErrNotFound)
	if !s.opts.Quirks.OneKeyForID {
		s.generate(t, token, twin, "twin")
		s.generate(t, token, twin, "twin")
		_, err = token.Sign(ctx, twin, alg.Sign, digest)
		wants(t, err, pkcs11.ErrAmbiguous)
	}
	_, err = token.Sign(ctx, one, 0x80001234, digest)
	wants(t, err, pkcs11.ErrUnsupported)
	_, err = token.Sign(ctx, one, alg.Sign, digest) // nothing of the above lingers
	check(t, err)

	check(t, token.Logout(ctx))
	// The private key is out of sight; some modules say so, others that there is none.
	if _, err = token.Sign(ctx, one, alg.Sign, digest); err == nil {
		t.Error("signs without login")
	}
}
