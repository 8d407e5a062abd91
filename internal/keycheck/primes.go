package keycheck

import (
	"math/big"
	"math/bits"
)

func bitLen(x uint64) int { return bits.Len64(x) }

// primesBelow is the sieve of Eratosthenes.
func primesBelow(bound int) []uint64 {
	composite := make([]bool, bound)
	var primes []uint64
	for i := 2; i < bound; i++ {
		if composite[i] {
			continue
		}
		primes = append(primes, uint64(i))
		for j := i * i; j < bound; j += i {
			composite[j] = true
		}
	}
	return primes
}

// productOf multiplies small numbers: first into words, then as a tree.
func productOf(factors []uint64) *big.Int {
	var words []*big.Int
	word := uint64(1)
	for _, f := range factors {
		if hi, _ := bits.Mul64(word, f); hi != 0 {
			words = append(words, new(big.Int).SetUint64(word))
			word = 1
		}
		word *= f
	}
	return product(append(words, new(big.Int).SetUint64(word)))
}

// product multiplies one or more as a tree, so that factors are of like size and math/big's
// Karatsuba multiplication is put to use.
func product(factors []*big.Int) *big.Int {
	if len(factors) == 1 {
		return factors[0]
	}
	half := len(factors) / 2
	return new(big.Int).Mul(product(factors[:half]), product(factors[half:]))
}
