package pkcs11_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// softToken signs as a token's module does, with a key in memory.
type softToken struct {
	pkcs11.Token
	key crypto.Signer
	err error
}

func (s softToken) Sign(_ context.Context, _ pkcs11.KeyID, m pkcs11.Mechanism, input []byte) ([]byte, error) {
	switch key := s.key.(type) {
	case *rsa.PrivateKey: // CKM_RSA_PKCS pads what it is given
		return rsa.SignPKCS1v15(nil, key, 0, input)
	case *ecdsa.PrivateKey: // CKM_ECDSA gives r || s
		r, v, err := ecdsa.Sign(rand.Reader, key, input)
		size := (key.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), v.FillBytes(make([]byte, size))...), err
	}
	return []byte{1, 2, 3}, s.err
}

func newKey(t *testing.T, a pkcs11.Algorithm) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch {
	case a.ModulusBits > 0:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case a.Hash == crypto.SHA384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicObject(t *testing.T, key crypto.Signer) pkcs11.Object {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pkcs11.Object{Class: pkcs11.ClassPublicKey, ID: pkcs11.KeyID{1}, PublicKey: spki}
}

func TestSigner(t *testing.T) {
	for _, a := range pkcs11.Algorithms() {
		t.Run(a.Name, func(t *testing.T) {
			key := newKey(t, a)
			signer, err := pkcs11.NewSigner(t.Context(), softToken{key: key}, publicObject(t, key), a)
			if err != nil {
				t.Fatal(err)
			}
			h := a.Hash.New()
			h.Write([]byte("message"))
			digest := h.Sum(nil)
			for range 20 { // r and s of every length
				signature, err := signer.Sign(rand.Reader, digest, a.Hash)
				if err != nil {
					t.Fatal(err)
				}
				switch public := signer.Public().(type) {
				case *rsa.PublicKey:
					err = rsa.VerifyPKCS1v15(public, a.Hash, digest, signature)
				case *ecdsa.PublicKey:
					if !ecdsa.VerifyASN1(public, digest, signature) {
						err = errors.New("does not verify")
					}
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestSignerRefuses(t *testing.T) {
	ec, err := pkcs11.AlgorithmByName("ec-p256")
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t, ec)
	good := publicObject(t, key)
	digest := make([]byte, 32)
	if _, err := pkcs11.NewSigner(t.Context(), softToken{key: key}, pkcs11.Object{PublicKey: []byte{0x30, 0x00}}, ec); err == nil {
		t.Error("a signer is made of what is no public key")
	}
	for name, c := range map[string]struct {
		token  pkcs11.Token
		change func(*pkcs11.Algorithm)
		digest []byte
		hash   crypto.Hash
	}{
		"another hash":       {softToken{key: key}, func(*pkcs11.Algorithm) {}, make([]byte, 48), crypto.SHA384},
		"short digest":       {softToken{key: key}, func(*pkcs11.Algorithm) {}, digest[:31], crypto.SHA256},
		"unknown form":       {softToken{key: key}, func(a *pkcs11.Algorithm) { a.Form = "sm2" }, digest, crypto.SHA256},
		"odd signature":      {softToken{}, func(*pkcs11.Algorithm) {}, digest, crypto.SHA256},
		"module fails":       {softToken{err: pkcs11.ErrDevice}, func(*pkcs11.Algorithm) {}, digest, crypto.SHA256},
		"hash without an id": {softToken{key: key}, func(a *pkcs11.Algorithm) { a.Form, a.Hash = pkcs11.SignatureRSAPKCS1, crypto.SHA224 }, make([]byte, 28), crypto.SHA224},
	} {
		a := ec
		c.change(&a)
		signer, err := pkcs11.NewSigner(t.Context(), c.token, good, a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signer.Sign(rand.Reader, c.digest, c.hash); err == nil {
			t.Errorf("%s: it signs", name)
		}
	}
}

func TestAlgorithmByName(t *testing.T) {
	for _, a := range pkcs11.Algorithms() {
		got, err := pkcs11.AlgorithmByName(a.Name)
		if err != nil || got.Name != a.Name {
			t.Errorf("%s gives %s, %v", a.Name, got.Name, err)
		}
	}
	if _, err := pkcs11.AlgorithmByName("rsa1024"); err == nil {
		t.Error("rsa1024 is an algorithm")
	}
}
