package keycheck

import (
	"fmt"
	"math"
	"math/big"
)

// smallFactorBound: every prime below it is tried as a factor. A random modulus of
// two primes of 1024 bits has none.
const smallFactorBound = 1 << 20

// check runs the tests in the order of their cost. Those that follow the test for
// small factors rely on an odd modulus.
func (g *rsaTables) check(key *rsaKey, bits int) error {
	// BitLen counts from the top bit that is set: this says that it is the bits-th.
	if got := key.n.BitLen(); got != bits {
		return fmt.Errorf("%w: %d bits, ordered were %d", ErrModulusSize, got, bits)
	}
	if err := checkExponent(key.e); err != nil {
		return err
	}
	if p, found := g.smallFactor(key.n); found {
		return fmt.Errorf("%w: %d", ErrSmallFactor, p)
	}
	if rocaShaped(key.n, g.roca) {
		return fmt.Errorf("%w: a discrete logarithm to base %d exists modulo every prime up to %d", ErrROCA, rocaGenerator, rocaLargest)
	}
	if k := g.power(key.n); k != 0 {
		return fmt.Errorf("%w: it is a perfect power (exponent %d)", ErrModulus, k)
	}
	// Zero rounds beside the Baillie-PSW test: no composite is known that deceives
	// it, and a modulus made to do so would only be missed as a prime.
	if key.n.ProbablyPrime(0) {
		return fmt.Errorf("%w: it is prime", ErrModulus)
	}
	if g.closePrimes(key.n, fermatRounds) {
		return fmt.Errorf("%w: Fermat's method finds them within %d rounds (CVE-2022-26320)", ErrClosePrimes, fermatRounds)
	}
	return nil
}

// checkExponent: FIPS 186-5, A.1.1: odd, 2^16 < e < 2^256.
func checkExponent(e *big.Int) error {
	switch low := big.NewInt(1 << 16); {
	case e.BitLen() > 256:
		return fmt.Errorf("%w: %d bits, at most 256 are allowed", ErrExponent, e.BitLen())
	case e.Bit(0) == 0:
		return fmt.Errorf("%w: %d is even", ErrExponent, e)
	case e.Cmp(low) <= 0:
		return fmt.Errorf("%w: %d is not above 2^16", ErrExponent, e)
	}
	return nil
}

// smallFactor finds the smallest prime factor of n below smallFactorBound.
func (g *rsaTables) smallFactor(n *big.Int) (p uint64, found bool) {
	rest := newReducer(n, g.primorial.BitLen()).mod(g.primorial)
	common := rest.GCD(nil, nil, rest, n)
	if common.Cmp(big.NewInt(1)) == 0 {
		return 0, false
	}
	var r, d big.Int
	for _, p = range g.primes {
		if r.Rem(common, d.SetUint64(p)).Sign() == 0 {
			break // always: common is a product of them
		}
	}
	return p, true
}

// power returns a prime k >= 2 for which n is a k-th power, or 0. n has no factor
// below smallFactorBound, so that k is bounded.
func (g *rsaTables) power(n *big.Int) uint64 {
	bound := uint64(n.BitLen() / (bitLen(smallFactorBound) - 1))
	var z big.Int
	for _, k := range g.primes {
		if k > bound {
			break
		}
		if z.Exp(root(n, k), new(big.Int).SetUint64(k), nil).Cmp(n) == 0 {
			return k
		}
	}
	return 0
}

// root returns the k-th root of n > 1, rounded down: Newton's method from above.
func root(n *big.Int, k uint64) *big.Int {
	if k == 2 {
		return new(big.Int).Sqrt(n)
	}
	x := rootEstimate(n, k)
	kk, less := new(big.Int).SetUint64(k), new(big.Int).SetUint64(k-1)
	y, t := new(big.Int), new(big.Int)
	for {
		t.Exp(x, less, nil)
		y.Add(y.Mul(x, less), t.Quo(n, t))
		y.Quo(y, kk)
		if y.Cmp(x) >= 0 {
			return x
		}
		x, y = y, x
	}
}

// rootEstimate is a little more than the k-th root: Newton's method must begin above
// it. Of the root's first 31 bits the last may be off by two or three; a float64's
// logarithm is right to more than that.
func rootEstimate(n *big.Int, k uint64) *big.Int {
	var f big.Float
	exponent := f.SetInt(n).MantExp(&f)
	mantissa, _ := f.Float64()
	whole, part := math.Modf((float64(exponent) + math.Log2(mantissa)) / float64(k))
	x := big.NewInt(int64(math.Exp2(part+30)) + 2)
	shift := int(whole) - 30
	if shift >= 0 {
		return x.Lsh(x, uint(shift))
	}
	x.Rsh(x, uint(-shift))
	return x.Add(x, big.NewInt(1))
}
