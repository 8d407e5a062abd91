package keycheck

import "math/big"

// fermatRounds bounds Fermat's method. It finds primes of n bits that differ by less
// than about 2^(n/2 + 7.5). Böck (2022) saw real keys fall within 20 rounds.
const fermatRounds = 1 << 12

// closePrimes is Fermat's method: n = a² - b² with a the middle between the factors,
// which is just above √n when they are close. n is odd.
func (g *rsaTables) closePrimes(n *big.Int, rounds int) bool {
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
	// Only residues are stepped along with; the numbers are worked out where they may be squares.
	mask := &g.fermatMask
	residue, rise := mask.residue(b2), mask.residue(step)
	for k := range int64(rounds) {
		if mask.allows(residue) {
			at := new(big.Int).Mul(step, big.NewInt(k))
			at.Add(at, big.NewInt(k*(k-1)))
			if mask.isSquare(at.Add(at, b2)) {
				return true
			}
		}
		residue, rise = (residue+rise)%maskBase, (rise+2)%maskBase
	}
	return false
}

// squareMask holds which residues squares have, to spare nearly all square roots.
type squareMask struct {
	low [lowBase]bool // modulo lowBase
	odd []bool        // modulo oddBase
}

const (
	lowBase  = 64
	oddBase  = 3 * 3 * 5 * 7 * 11 * 13
	maskBase = lowBase * oddBase
)

func newSquareMask() squareMask {
	m := squareMask{odd: make([]bool, oddBase)}
	for i := range m.low {
		m.low[i*i%len(m.low)] = true
	}
	for i := range m.odd {
		m.odd[i*i%oddBase] = true
	}
	return m
}

// residue is x modulo maskBase.
func (m *squareMask) residue(x *big.Int) uint64 {
	return new(big.Int).Rem(x, big.NewInt(maskBase)).Uint64()
}

// allows reports whether a number of that residue may be a square.
func (m *squareMask) allows(residue uint64) bool {
	return m.low[residue%lowBase] && m.odd[residue%oddBase]
}

func (m *squareMask) isSquare(x *big.Int) bool {
	if !m.allows(m.residue(x)) {
		return false
	}
	var r big.Int
	r.Sqrt(x)
	return r.Mul(&r, &r).Cmp(x) == 0
}
