package keycheck

import "math/big"

// The ROCA fingerprint. Infineon's RSALib made primes of the form
//
//	p = k·M + (65537^a mod M),   M = the product of the first primes 2, 3, 5, …
//
// (Nemec et al. 2017, section 2). So N = p·q is a power of 65537 modulo M, and
// modulo every divisor of M. M has 39 primes for the shortest keys and more for longer
// ones, hence the first 39 divide every M: whether a logarithm exists
// modulo their product M' is a test that misses no such key of any size.
//
// M' is smooth, so the logarithm is found prime by prime (Pohlig and Hellman 1978) and
// put together by the Chinese remainder theorem. All that is asked is whether it exists.
const (
	rocaGenerator = 65537
	rocaLargest   = 167 // the 39th prime
)

// rocaPrime holds the logarithms to base 65537 modulo one prime.
type rocaPrime struct {
	prime uint64
	order int   // of 65537
	log   []int // of each residue, -1 where there is none
}

// rocaPrimes makes the tables. 2 is left out: it tells nothing of an odd modulus.
func rocaPrimes(primes []uint64) []rocaPrime {
	var all []rocaPrime
	for _, p := range primes[1:] {
		if p > rocaLargest {
			break
		}
		all = append(all, newROCAPrime(p))
	}
	return all
}

func newROCAPrime(p uint64) rocaPrime {
	r := rocaPrime{prime: p, log: make([]int, p)}
	for i := range r.log {
		r.log[i] = -1
	}
	for x := uint64(1); r.log[x] < 0; x = x * rocaGenerator % p {
		r.log[x] = r.order
		r.order++
	}
	return r
}

// rocaShaped reports whether n is a power of 65537 modulo the product of the primes.
//
// Of random moduli without small factors, 65537 being in its subgroup modulo each
// prime would hold for 2^-27.8, and with one and the same logarithm for all of them
// for 2^-154: there are no false positives.
func rocaShaped(n *big.Int, primes []rocaPrime) bool {
	logs := make([]int, len(primes))
	var p, r big.Int
	for i, prime := range primes {
		logs[i] = prime.log[r.Mod(n, p.SetUint64(prime.prime)).Uint64()]
		if logs[i] < 0 {
			return false
		}
	}
	return consistent(logs, primes)
}

// consistent reports whether one number is logs[i] modulo every order: that is so
// exactly if each two of them agree modulo the common divisor of their orders.
func consistent(logs []int, primes []rocaPrime) bool {
	for i := range logs {
		for j := range i {
			if (logs[i]-logs[j])%gcd(primes[i].order, primes[j].order) != 0 {
				return false
			}
		}
	}
	return true
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
