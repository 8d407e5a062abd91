package keycheck

import (
	"math/big"
	"math/bits"
	"slices"
)

// reducer takes very long numbers modulo one n. math/big divides word by word when
// the divisor is as short as a modulus; to fold the upper half down by what a power of
// two is modulo n takes about half the time, for it multiplies long rows.
type reducer struct {
	n *big.Int
	// folds[i] is 2^(bits.UintSize·words[i]) mod n, the longest first.
	words []int
	folds []*big.Int
	sums  [2]big.Int // what mod works in, by turns
}

// newReducer prepares for numbers of up to so many bits and a little more.
func newReducer(n *big.Int, length int) *reducer {
	r := &reducer{n: n}
	words := len(n.Bits()) + 1
	fold := new(big.Int).Lsh(big.NewInt(1), uint(words*bits.UintSize))
	fold.Rem(fold, n)
	for ; words < length/bits.UintSize; words *= 2 {
		r.words, r.folds = append(r.words, words), append(r.folds, fold)
		fold = new(big.Int).Mul(fold, fold)
		fold.Rem(fold, n)
	}
	slices.Reverse(r.words)
	slices.Reverse(r.folds)
	return r
}

// mod returns x mod n; x is not changed. Not safe for concurrent use.
func (r *reducer) mod(x *big.Int) *big.Int {
	sum := x
	for i, at := range r.words {
		words := sum.Bits()
		if len(words) <= at {
			continue
		}
		// Both halves are views of sum and are only read: next is never sum.
		var high, low big.Int
		high.SetBits(words[at:])
		low.SetBits(words[:at])
		next := &r.sums[i%2]
		next.Mul(&high, r.folds[i])
		sum = next.Add(next, &low)
	}
	return new(big.Int).Rem(sum, r.n)
}
