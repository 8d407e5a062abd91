package keycheck

import "math/big"

// fermatRounds bounds Fermat's method. It finds primes of n bits that differ by less
// than about 2^(n/2 + 7.5). Böck (2022) saw real keys fall within 20 rounds.
const fermatRounds = 1 << 12

// closePrimes is Fermat's method: n = a² - b² with a the middle between the factors,
// which is just above √n when they are close. n is odd.
func (g *Gate) closePrimes(n *big.Int, rounds int) bool {
	one := big.NewInt(1)
	a := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(a, a).Cmp(n) < 0 {
		a.Add(a, one)
	}
	b2 := new(big.Int).Mul(a, a)
	b2.Sub(b2, n)
	// (a+1)² - n is b² + 2a + 1, and the step then grows by 2.
	step := new(big.Int).Lsh(a, 1)
	step.Add(step, one)
	two := big.NewInt(2)
	for range rounds {
		if g.fermatMask.isSquare(b2) {
			return true
		}
		b2.Add(b2, step)
		step.Add(step, two)
	}
	return false
}

// squareMask holds which residues squares have, to spare nearly all square roots.
type squareMask struct {
	low  [64]bool // modulo 64
	odd  []bool   // modulo oddBase
	base *big.Int
}

const oddBase = 3 * 3 * 5 * 7 * 11 * 13

func newSquareMask() squareMask {
	m := squareMask{odd: make([]bool, oddBase), base: big.NewInt(oddBase)}
	for i := range m.low {
		m.low[i*i%len(m.low)] = true
	}
	for i := range m.odd {
		m.odd[i*i%oddBase] = true
	}
	return m
}

func (m *squareMask) isSquare(x *big.Int) bool {
	if x.Sign() == 0 {
		return true
	}
	if !m.low[x.Bits()[0]%64] {
		return false
	}
	var r big.Int
	if !m.odd[r.Rem(x, m.base).Uint64()] {
		return false
	}
	r.Sqrt(x)
	return r.Mul(&r, &r).Cmp(x) == 0
}
