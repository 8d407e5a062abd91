package keycheck

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
)

func TestMalformed(t *testing.T) {
	n := odd(t, 2048)
	good := rsaSPKI(t, n, f4())
	key := marshal(t, rsaASN{n, f4()})
	wrapped := func(alg pkix.AlgorithmIdentifier, bits asn1.BitString) []byte {
		return marshal(t, spkiASN{alg, bits})
	}
	whole := asn1.BitString{Bytes: key, BitLength: 8 * len(key)}
	null := pkix.AlgorithmIdentifier{Algorithm: oidRSA(), Parameters: asn1.NullRawValue}
	for _, row := range []struct {
		name string
		spki []byte
		want error
	}{
		{"good", good, nil},
		{"empty", nil, ErrMalformed},
		{"a byte after it", append(bytes.Clone(good), 0), ErrMalformed},
		{"a byte short", good[:len(good)-1], ErrMalformed},
		{"too long for any key", make([]byte, maxSPKI+1), ErrMalformed},
		{"no parameters", wrapped(pkix.AlgorithmIdentifier{Algorithm: oidRSA()}, whole), ErrMalformed},
		{"parameters not NULL", wrapped(pkix.AlgorithmIdentifier{Algorithm: oidRSA(), Parameters: asn1.RawValue{FullBytes: []byte{4, 0}}}, whole), ErrMalformed},
		{"an unused bit", wrapped(null, asn1.BitString{Bytes: key, BitLength: 8*len(key) - 1}), ErrMalformed},
		{"an unused bit that is 0", wrapped(null, asn1.BitString{Bytes: marshal(t, rsaASN{n, big.NewInt(65538)}), BitLength: 8*len(key) - 1}), ErrMalformed},
		{"a third element", marshal(t, struct {
			A pkix.AlgorithmIdentifier
			K asn1.BitString
			X int
		}{null, whole, 1}), ErrMalformed},
		{"a third number in the key", rsaBytes(t, marshal(t, struct{ N, E, X *big.Int }{n, f4(), f4()})), ErrMalformed},
		{"a byte after the key", rsaBytes(t, append(bytes.Clone(key), 0)), ErrMalformed},
		{"no exponent", rsaBytes(t, marshal(t, struct{ N *big.Int }{n})), ErrMalformed},
		{"an INTEGER of superfluous length", rsaBytes(t, []byte{0x30, 8, 2, 2, 0, 5, 2, 2, 0, 3}), ErrMalformed},
		{"a length in the long form", append([]byte{0x30, 0x83, 0}, good[2:]...), ErrMalformed},
		{"indefinite length", append(append([]byte{0x30, 0x80}, good[4:]...), 0, 0), ErrMalformed},
		{"RSAPublicKey alone", key, ErrMalformed},
		{"RSASSA-PSS", wrapped(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}}, whole), ErrKeyType},
		{"Ed25519", public(t, newEd25519(t)), ErrKeyType},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := parse(row.spki)
			wantError(t, err, row.want)
		})
	}
}

func newEd25519(t *testing.T) ed25519.PublicKey {
	t.Helper()
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// FuzzParse: nothing panics, and whatever is read has one spelling only: written
// anew it is the same bytes. The checks that bound their own work run on it too.
func FuzzParse(f *testing.F) {
	f.Add(newEC(f, elliptic.P256()))
	f.Add(newEC(f, elliptic.P384()))
	f.Add(rsaSPKI(f, odd(f, 2048), f4()))
	f.Add(rsaSPKI(f, big.NewInt(1), big.NewInt(1)))
	f.Add(ecSPKI(f, p256().ECParams, []byte{0}))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, spki []byte) {
		known := new(Moduli)
		err := known.Admit(Known{"first", spki})
		key, parseErr := parse(spki)
		if (err == nil) != (parseErr == nil) {
			t.Fatalf("parsed %v, admitted %v", parseErr, err)
		}
		if err != nil {
			return
		}
		again := spki
		if key.rsa != nil {
			again = rsaSPKI(t, key.rsa.n, key.rsa.e)
		} else {
			again = ecSPKI(t, key.ec.params, key.ec.point)
			_ = gate().Check(spki, p256())
			_ = gate().Check(spki, p384())
		}
		if !bytes.Equal(again, spki) {
			t.Errorf("%x is read as %x", spki, again)
		}
		wantError(t, known.Admit(Known{"second", spki}), ErrDuplicate)
	})
}
