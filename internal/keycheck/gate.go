package keycheck

import (
	"fmt"
	"math/big"
	"sync"
)

// Sizes of an RSA modulus that may be ordered, in bits.
const (
	minModulus = 2048  // FIPS 186-5, 5.1
	maxModulus = 16384 // what a check still takes seconds for
)

// Want is the kind of key that was ordered: exactly one of the two.
type Want struct {
	// ModulusBits orders an RSA key of this size.
	ModulusBits int
	// ECParams orders a key on a named curve: the DER of its OID (CKA_EC_PARAMS).
	ECParams []byte
}

// Gate checks keys one by one. Its tables are worked out once, by the first key that
// they are for; it is safe for concurrent use.
type Gate struct {
	rsa    func() *rsaTables
	curves []*curve
}

// rsaTables are what keys of any size are compared with.
type rsaTables struct {
	primes     []uint64 // all below smallFactorBound
	primorial  *big.Int // their product
	roca       []rocaPrime
	fermatMask squareMask
}

// New gives the gate, the same one every time. The first key of each kind takes some tens
// of milliseconds longer than the others.
func New() *Gate { return theGate() }

// theGate is a constant that is not worked out before somebody wants it.
var theGate = sync.OnceValue(newGate)

func newGate() *Gate { return &Gate{rsa: sync.OnceValue(newRSATables), curves: curves()} }

func newRSATables() *rsaTables {
	primes := primesBelow(smallFactorBound)
	return &rsaTables{primes: primes, primorial: productOf(primes), roca: rocaPrimes(primes), fermatMask: newSquareMask()}
}

// Check looks at the SubjectPublicKeyInfo (DER) of a new key by itself. It returns nil
// or the first reason found to refuse the key, which wraps one of this package's
// sentinels: all but ErrSharedFactor and ErrDuplicate, which are Moduli's.
func (g *Gate) Check(spki []byte, want Want) error {
	if err := g.orderable(want); err != nil {
		return err
	}
	key, err := parse(spki)
	if err != nil {
		return err
	}
	switch {
	case key.rsa != nil && want.ModulusBits > 0:
		return g.rsa().check(key.rsa, want.ModulusBits)
	case key.ec != nil && want.ECParams != nil:
		return g.checkEC(key.ec, want.ECParams)
	case key.rsa != nil:
		return fmt.Errorf("%w: RSA of %d bits, ordered was EC", ErrKeyType, key.rsa.n.BitLen())
	default:
		return fmt.Errorf("%w: EC, ordered was RSA of %d bits", ErrKeyType, want.ModulusBits)
	}
}

func (g *Gate) orderable(want Want) error {
	switch {
	case (want.ModulusBits != 0) == (want.ECParams != nil):
		return fmt.Errorf("%w: the order names both or neither of RSA and EC", ErrOrder)
	case want.ECParams != nil && g.curve(want.ECParams) == nil:
		return fmt.Errorf("%w: no curve has the parameters %x", ErrOrder, want.ECParams)
	case want.ECParams == nil && (want.ModulusBits < minModulus || want.ModulusBits > maxModulus):
		return fmt.Errorf("%w: RSA of %d bits", ErrOrder, want.ModulusBits)
	}
	return nil
}
