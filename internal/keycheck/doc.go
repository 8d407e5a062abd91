// Package keycheck is the key quality gate: a public key that a token has just
// made is looked at here before anything is certified, and a weak one goes no further.
//
// It owns two questions. [Gate.Check]: is this key, by itself, the one that was
// ordered and free of every weakness that its public half can show? [Moduli.Admit]:
// does it share anything with a key that this station has seen before?
//
// It must not know tokens, orders, journals, networks or files, and imports nothing
// of ours. It never sees a private key. No error of it holds a large
// factor: to print what two moduli share is to publish both private keys.
//
// # What is found
//
// RSA, in the order of cost:
//   - another size than ordered, or below 2048 bits (FIPS 186-5, 5.1);
//   - an exponent that is even or not within 2^16 < e < 2^256 (FIPS 186-5, A.1.1).
//     With e below 2^256 the private exponent cannot be small, so Wiener's attack needs no test;
//   - a prime factor below 2^20, by one GCD with the product of all of them;
//   - the ROCA fingerprint, CVE-2017-15361 (Nemec, Sys, Svenda, Klinec, Matyas: The
//     Return of Coppersmith's Attack, ACM CCS 2017);
//   - a modulus that is a perfect power, or itself prime;
//   - primes so close that Fermat's method ends within 2^12 rounds, CVE-2022-26320 (Böck:
//     Fermat Factorization in the Wild, IACR ePrint 2023/026). The CA/Browser Forum's
//     Baseline Requirements, 6.1.1.3, ask for 100 rounds;
//   - a prime in common with any other modulus (Heninger, Durumeric, Wustrow, Halderman:
//     Mining Your Ps and Qs, USENIX Security 2012), or the very same modulus.
//
// EC: anything but the ordered named curve (RFC 5480, 2.1.1: no explicit parameters),
// anything but the uncompressed point (RFC 5480, 2.2; SEC 1, 2.3.3), a point not on the curve, the
// identity, a wrong order (SEC 1, 3.2.2.1), x = 0, private keys ±1 … ±2^16, private keys
// of one repeated byte, and the very same key again.
//
// # What is not
//
// Debian's weak keys (CVE-2008-0166) can be told only by lists of hundreds of
// thousands of keys, and were made by OpenSSL, not by tokens. A random generator that
// is merely poor shows only when it repeats itself. A key that passes is not proved good.
package keycheck
