package keycheck

import (
	"math"
	"math/big"
	"testing"
)

// rocaNumber makes a number as RSALib made primes: k·M + (65537^a mod M), with M the
// product of so many first primes (Nemec et al. 2017, section 2).
func rocaNumber(t *testing.T, bits, count int) *big.Int {
	t.Helper()
	m := productOf(gate().rsa().primes[:count])
	k := odd(t, bits-m.BitLen()+1)
	a := below(t, new(big.Int).Lsh(big.NewInt(1), 256))
	p := new(big.Int).Exp(f4(), a, m)
	return p.Add(p, k.Mul(k, m))
}

func TestROCAKeyIsRefused(t *testing.T) {
	t.Parallel()
	half := func() *big.Int {
		for {
			if p := rocaNumber(t, 1024, 126); p.BitLen() == 1024 && p.Bit(1022) == 1 && p.ProbablyPrime(0) {
				return p
			}
		}
	}
	wantError(t, gate().Check(rsaSPKI(t, mul(half(), half()), f4()), Want{ModulusBits: 2048}), ErrROCA)
}

// TestROCASizes: the shape is found for every size of key, whatever M it has.
func TestROCASizes(t *testing.T) {
	for _, size := range []struct{ bits, primes int }{{512, 39}, {1024, 71}, {2048, 126}, {3072, 126}, {4096, 225}} {
		for range 20 {
			n := mul(rocaNumber(t, size.bits/2, size.primes), rocaNumber(t, size.bits/2, size.primes))
			if !rocaShaped(n, gate().rsa().roca) {
				t.Fatalf("RSA-%d of M with %d primes was not found", size.bits, size.primes)
			}
		}
	}
}

// TestROCANearMisses: wrong modulo a single prime, and right modulo each prime but
// with logarithms that contradict each other.
func TestROCANearMisses(t *testing.T) {
	m := productOf(gate().rsa().primes[:39])
	power := new(big.Int).Exp(f4(), below(t, m), m)
	if !rocaShaped(power, gate().rsa().roca) {
		t.Fatal("a power of 65537 was not found")
	}
	for _, p := range gate().rsa().roca {
		if p.order == int(p.prime)-1 {
			continue // 65537 generates everything: no residue is wrong
		}
		wrong := uint64(1)
		for p.log[wrong] >= 0 {
			wrong++
		}
		if rocaShaped(with(power, m, p.prime, wrong), gate().rsa().roca) {
			t.Errorf("no logarithm modulo %d, and still found", p.prime)
		}
	}
	// 65537 has order 2 modulo 3 and an even one modulo 167: turn one parity.
	other := new(big.Int).Mod(new(big.Int).Mul(power, f4()), big.NewInt(3)).Uint64()
	if rocaShaped(with(power, m, 3, other), gate().rsa().roca) {
		t.Error("contradicting logarithms, and still found")
	}
}

// with returns x mod m, but r modulo the prime p that divides m.
func with(x, m *big.Int, p, r uint64) *big.Int {
	prime := new(big.Int).SetUint64(p)
	rest := new(big.Int).Quo(m, prime)
	// x + rest·(rest^-1·(r - x) mod p)
	t := new(big.Int).Sub(new(big.Int).SetUint64(r), x)
	t.Mul(t, new(big.Int).ModInverse(rest, prime))
	t.Mul(t.Mod(t, prime), rest)
	return t.Mod(t.Add(t, x), m)
}

// TestROCAFalsePositives states the rate for random moduli, and that none of 20,000
// is taken for one. The rates are those of Nemec et al. 2017.
func TestROCAFalsePositives(t *testing.T) {
	t.Parallel()
	if got := len(gate().rsa().roca); got != 38 {
		t.Errorf("%d primes, wanted the first 39 but 2", got)
	}
	residues, subgroups, together := 0.0, 0.0, big.NewInt(1)
	for _, p := range gate().rsa().roca {
		residues += math.Log2(float64(p.prime - 1))
		subgroups += math.Log2(float64(p.order))
		order := big.NewInt(int64(p.order))
		together.Quo(mul(together, order), new(big.Int).GCD(nil, nil, together, order))
	}
	if rate := subgroups - residues; math.Abs(rate+27.8) > 0.1 {
		t.Errorf("prime by prime 2^%.1f of random moduli would be found, wanted 2^-27.8", rate)
	}
	f, _ := new(big.Float).SetInt(together).Float64()
	if rate := math.Log2(f) - residues; math.Abs(rate+154) > 1 {
		t.Errorf("2^%.1f of random moduli are found, wanted 2^-154", rate)
	}
	for range 20000 {
		if n := odd(t, 2048); rocaShaped(n, gate().rsa().roca) {
			t.Errorf("%x", n)
		}
	}
}
