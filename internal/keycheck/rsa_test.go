package keycheck

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
)

func TestGoodRSAKeysPass(t *testing.T) {
	t.Parallel()
	for range 3 {
		if err := gate().Check(newRSA(t, 2048), Want{ModulusBits: 2048}); err != nil {
			t.Error(err)
		}
	}
}

func TestExponent(t *testing.T) {
	t.Parallel()
	n := mul(prime(t, 1024), prime(t, 1024))
	power := func(k uint, plus int64) *big.Int {
		e := new(big.Int).Lsh(big.NewInt(1), k)
		return e.Add(e, big.NewInt(plus))
	}
	for _, c := range []struct {
		name string
		e    *big.Int
		want error
	}{
		{"3", big.NewInt(3), ErrExponent},
		{"17", big.NewInt(17), ErrExponent},
		{"1", big.NewInt(1), ErrExponent},
		{"2^16 - 1", power(16, -1), ErrExponent},
		{"2^16", power(16, 0), ErrExponent},
		{"2^16 + 1", power(16, 1), nil},
		{"2^16 + 2", power(16, 2), ErrExponent},
		{"2^31 + 1", power(31, 1), nil},
		{"2^64 + 1", power(64, 1), nil},
		{"2^256 - 1", power(256, -1), nil},
		{"2^256 + 1", power(256, 1), ErrExponent},
		{"0", new(big.Int), ErrMalformed},
		{"-65537", big.NewInt(-65537), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantError(t, gate().Check(rsaSPKI(t, n, c.e), Want{ModulusBits: 2048}), c.want)
		})
	}
}

// TestWeakModuli relies on rand.Prime setting the top two bits, so that a product has
// as many bits as its factors together.
func TestWeakModuli(t *testing.T) {
	t.Parallel()
	p, q := prime(t, 1024), prime(t, 1024)
	good := mul(p, q)
	for _, c := range []struct {
		name string
		n    *big.Int
		want error
	}{
		{"good", good, nil},
		{"2047 bits", mul(p, prime(t, 1023)), ErrModulusSize},
		{"2049 bits", mul(p, prime(t, 1025)), ErrModulusSize},
		{"1024 bits", mul(prime(t, 512), prime(t, 512)), ErrModulusSize},
		{"zero", new(big.Int), ErrMalformed},
		{"negative", new(big.Int).Neg(good), ErrMalformed},
		{"one", big.NewInt(1), ErrModulusSize},
		{"even", new(big.Int).Sub(good, big.NewInt(1)), ErrSmallFactor},
		{"a factor 3", mul(big.NewInt(3), new(big.Int).SetBit(odd(t, 2046), 2044, 1)), ErrSmallFactor},
		{"the largest small factor", mul(big.NewInt(1048573), mul(prime(t, 1014), prime(t, 1014))), ErrSmallFactor},
		{"a square", mul(q, q), ErrModulus},
		{"a cube", cube(t, 683), ErrModulus},
		{"prime", slowPrime(t), ErrModulus},
		{"twin primes, or nearly", mul(p, nextPrime(new(big.Int).Add(p, big.NewInt(2)))), ErrClosePrimes},
		{"primes alike in half their bits", mul(p, halfAlike(t, p)), ErrClosePrimes},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := gate().Check(rsaSPKI(t, c.n, f4()), Want{ModulusBits: 2048})
			wantError(t, err, c.want)
			if err != nil && (strings.Contains(err.Error(), p.String()) || strings.Contains(err.Error(), fmt.Sprintf("%x", p))) {
				t.Error("the error gives a large prime away")
			}
		})
	}
}

// cube returns p³ of 2048 bits.
func cube(t *testing.T, bits int) *big.Int {
	t.Helper()
	for {
		p := prime(t, bits)
		if n := mul(p, mul(p, p)); n.BitLen() == 2048 {
			return n
		}
	}
}

// slowPrime is 2^2048 - 1557, found once: to look for another one takes seconds.
func slowPrime(t *testing.T) *big.Int {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), 2048)
	return n.Sub(n, big.NewInt(1557))
}

// halfAlike returns a prime that differs from p in its lower half only.
func halfAlike(t *testing.T, p *big.Int) *big.Int {
	t.Helper()
	q := new(big.Int).Rsh(p, 512)
	return nextPrime(q.Add(q.Lsh(q, 512), below(t, new(big.Int).Lsh(big.NewInt(1), 512))))
}

func TestRoot(t *testing.T) {
	for _, k := range []uint64{2, 3, 5, 7, 31, 101, 199} {
		for _, bits := range []int{21, 64, 300} {
			x := odd(t, bits)
			n := new(big.Int).Exp(x, new(big.Int).SetUint64(k), nil)
			if got := root(n, k); got.Cmp(x) != 0 {
				t.Errorf("root %d of a power of %d bits is %d, wanted %d", k, bits, got, x)
			}
			if got := root(n.Sub(n, big.NewInt(1)), k); got.Add(got, big.NewInt(1)).Cmp(x) != 0 {
				t.Errorf("root %d just below a power of %d bits is %d - 1, wanted %d - 1", k, bits, got, x)
			}
		}
	}
}

func TestPowers(t *testing.T) {
	for _, k := range []uint64{2, 3, 5, 7, 13, 53, 97} {
		n := new(big.Int).Exp(odd(t, 2048/int(k)), new(big.Int).SetUint64(k), nil)
		if got := gate().rsa().power(n); got != k {
			t.Errorf("a power of %d was taken for one of %d", k, got)
		}
		if got := gate().rsa().power(n.Add(n, big.NewInt(2))); got != 0 {
			t.Errorf("a power of %d plus 2 was taken for one of %d", k, got)
		}
	}
}

// TestFermatRounds: the number of rounds is what it says. With the middle a at
// ceil(√n) + i, round i (from 0) finds it.
func TestFermatRounds(t *testing.T) {
	g := &rsaTables{fermatMask: newSquareMask()}
	a := odd(t, 200)
	for _, distance := range []uint{20, 90, 101, 103, 105} {
		b := new(big.Int).Lsh(big.NewInt(1), distance)
		n := new(big.Int).Sub(mul(a, a), mul(b, b))
		first := new(big.Int).Sqrt(n)
		first.Add(first, big.NewInt(1))
		rounds := int(new(big.Int).Sub(a, first).Int64()) + 1
		if !g.closePrimes(n, rounds) || g.closePrimes(n, rounds-1) {
			t.Errorf("b = 2^%d: not found in exactly %d rounds", distance, rounds)
		}
	}
}

func TestIsSquare(t *testing.T) {
	m := newSquareMask()
	for i := range int64(3000) {
		r := new(big.Int).Sqrt(big.NewInt(i))
		if got, want := m.isSquare(big.NewInt(i)), r.Mul(r, r).Int64() == i; got != want {
			t.Errorf("%d is a square: %v", i, got)
		}
	}
}

func TestOrders(t *testing.T) {
	spki := newEC(t, curveOf(p256()))
	for _, c := range []struct {
		name string
		want Want
		is   error
	}{
		{"nothing", Want{}, ErrOrder},
		{"both", Want{ModulusBits: 2048, ECParams: p256().ECParams}, ErrOrder},
		{"RSA-1024", Want{ModulusBits: 1024}, ErrOrder},
		{"RSA-32768", Want{ModulusBits: 32768}, ErrOrder},
		{"RSA of negative size", Want{ModulusBits: -2048}, ErrOrder},
		{"an unknown curve", Want{ECParams: []byte{6, 5, 43, 129, 4, 0, 35}}, ErrOrder},
		{"no curve", Want{ECParams: []byte{}}, ErrOrder},
		{"RSA for EC", Want{ModulusBits: 2048}, ErrKeyType},
		{"another curve", p384(), ErrCurve},
		{"this curve", p256(), nil},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, gate().Check(spki, c.want), c.is) })
	}
	wantError(t, gate().Check(rsaSPKI(t, odd(t, 2048), f4()), p256()), ErrKeyType)
}
