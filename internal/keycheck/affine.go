package keycheck

import "math/big"

// affine is arithmetic on y² = x³ - 3x + b over the integers modulo p: plain school
// formulas (SEC 1, 2.2.1), in variable time. Nothing secret ever passes through it.
type affine struct {
	p    *big.Int
	size int // bytes of a coordinate
}

// point is a point, or the identity if x is nil. It is never changed.
type point struct{ x, y *big.Int }

// key makes a point's x a map key; the identity's is empty.
func (c affine) key(a point) string {
	if a.x == nil {
		return ""
	}
	return string(a.x.FillBytes(make([]byte, c.size)))
}

// decode reads 0x04 || x || y.
func (c affine) decode(encoded []byte) point {
	return point{new(big.Int).SetBytes(encoded[1 : 1+c.size]), new(big.Int).SetBytes(encoded[1+c.size:])}
}

func (c affine) negate(a point) point {
	if a.x == nil {
		return a
	}
	y := new(big.Int).Neg(a.y)
	return point{a.x, y.Mod(y, c.p)}
}

func (c affine) add(a, b point) point {
	switch {
	case a.x == nil:
		return b
	case b.x == nil:
		return a
	case a.x.Cmp(b.x) != 0:
		return c.through(a, b, new(big.Int).Sub(b.y, a.y), new(big.Int).Sub(b.x, a.x))
	case a.y.Cmp(b.y) != 0 || a.y.Sign() == 0:
		return point{}
	}
	// The tangent: (3x² - 3) / 2y.
	rise := new(big.Int).Mul(a.x, a.x)
	rise.Mul(rise.Sub(rise, big.NewInt(1)), big.NewInt(3))
	return c.through(a, b, rise, new(big.Int).Lsh(a.y, 1))
}

// through returns the sum of two points on the line of slope rise / run.
func (c affine) through(a, b point, rise, run *big.Int) point {
	slope := run.ModInverse(run.Mod(run, c.p), c.p)
	slope.Mod(slope.Mul(slope, rise), c.p)
	x := new(big.Int).Mul(slope, slope)
	x.Sub(x, a.x)
	x.Mod(x.Sub(x, b.x), c.p)
	y := new(big.Int).Sub(a.x, x)
	y.Mul(y, slope)
	return point{x, y.Mod(y.Sub(y, a.y), c.p)}
}

// sums gives the x of a + b and of a - b for each of some points b, none of them the identity;
// not apart if one of them is a or -a. All slopes are divided by one inversion (Montgomery 1987,
// 10.3.1): a product of all runs is inverted, and the others taken out of it.
func (c affine) sums(a point, others []point) (xs []*big.Int, apart bool) {
	runs, before := make([]*big.Int, len(others)), make([]*big.Int, len(others))
	product := big.NewInt(1)
	for i, b := range others {
		runs[i] = new(big.Int).Sub(b.x, a.x)
		before[i] = product
		product = new(big.Int).Mul(product, runs[i])
		product.Mod(product, c.p)
	}
	if product.Sign() == 0 {
		return nil, false
	}
	rest := new(big.Int).ModInverse(product, c.p)
	for i := len(others) - 1; i >= 0; i-- {
		inverse := new(big.Int).Mul(rest, before[i])
		inverse.Mod(inverse, c.p)
		rest.Mod(rest.Mul(rest, runs[i]), c.p)
		for _, b := range []point{others[i], c.negate(others[i])} {
			slope := new(big.Int).Sub(b.y, a.y)
			slope.Mod(slope.Mul(slope, inverse), c.p)
			x := slope.Mul(slope, slope)
			x.Sub(x, a.x)
			xs = append(xs, x.Mod(x.Sub(x, b.x), c.p))
		}
	}
	return xs, true
}

func (c affine) multiply(k *big.Int, a point) point {
	sum := point{}
	for i := k.BitLen() - 1; i >= 0; i-- {
		sum = c.add(sum, sum)
		if k.Bit(i) == 1 {
			sum = c.add(sum, a)
		}
	}
	return sum
}
