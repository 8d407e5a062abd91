package keycheck

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"sync"
	"testing"
)

// What the tests make keys of, good ones and weak ones. Nothing here is a vector
// from elsewhere: every weak key is built on the spot from what makes it weak.

// gate is made once and used by tests that run at the same time, as it may be.
var gate = sync.OnceValue(New)

func p256() Want { return Want{ECParams: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}} }
func p384() Want { return Want{ECParams: []byte{6, 5, 43, 129, 4, 0, 34}} }

func prime(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// below returns a random number in 0 … n-1.
func below(t testing.TB, n *big.Int) *big.Int {
	t.Helper()
	x, err := rand.Int(rand.Reader, n)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// odd returns a random odd number of exactly so many bits.
func odd(t testing.TB, bits int) *big.Int {
	t.Helper()
	x := below(t, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
	return x.SetBit(x.SetBit(x, bits-1, 1), 0, 1)
}

// nextPrime returns the first prime at or above x.
func nextPrime(x *big.Int) *big.Int {
	p := new(big.Int).Set(x)
	p.SetBit(p, 0, 1)
	for !p.ProbablyPrime(0) {
		p.Add(p, big.NewInt(2))
	}
	return p
}

func mul(a, b *big.Int) *big.Int { return new(big.Int).Mul(a, b) }

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func rsaSPKI(t testing.TB, n, e *big.Int) []byte {
	t.Helper()
	return rsaBytes(t, marshal(t, rsaASN{n, e}))
}

// rsaBytes wraps what need not be an RSAPublicKey.
func rsaBytes(t testing.TB, key []byte) []byte {
	t.Helper()
	return marshal(t, spkiASN{
		pkix.AlgorithmIdentifier{Algorithm: oidRSA(), Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: key, BitLength: 8 * len(key)},
	})
}

func f4() *big.Int { return big.NewInt(65537) }

func ecSPKI(t testing.TB, params, point []byte) []byte {
	t.Helper()
	return marshal(t, spkiASN{
		pkix.AlgorithmIdentifier{Algorithm: oidEC(), Parameters: asn1.RawValue{FullBytes: params}},
		asn1.BitString{Bytes: point, BitLength: 8 * len(point)},
	})
}

func public(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newRSA(t testing.TB, bits int) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return public(t, key.Public())
}

func newEC(t testing.TB, on elliptic.Curve) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(on, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public(t, key.Public())
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, wanted %v", err, want)
	}
}
