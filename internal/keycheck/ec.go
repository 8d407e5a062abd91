package keycheck

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"fmt"
	"math/big"
	"sync"
)

const (
	// smallScalar: private keys ±1 … ±smallScalar are found.
	smallScalar = 1 << 16
	// babySteps of the multiples of G are kept; the rest is reached by giant steps.
	babySteps  = 1 << 10
	giantSteps = (smallScalar + babySteps) / (2*babySteps + 1)
)

// curve is a named curve that may be ordered. Another one is another row in curves.
type curve struct {
	name   string
	params []byte // DER of its OID
	group  affine
	key    ecdh.Curve
	order  *big.Int
	guess  func() *guesses
}

// guesses are the points whose private key is easily guessed.
type guesses struct {
	group  affine
	xs     map[string]struct{} // their x
	giants []point             // i·(2·babySteps + 1)·G for i of 1 … giantSteps
}

// curves are those of RFC 5480, 2.1.1.1, that the product's algorithms name.
func curves() []*curve {
	return []*curve{
		// 1.2.840.10045.3.1.7 and 1.3.132.0.34
		newCurve([]byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, elliptic.P256(), ecdh.P256()),
		newCurve([]byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}, elliptic.P384(), ecdh.P384()),
	}
}

func newCurve(params []byte, named elliptic.Curve, key ecdh.Curve) *curve {
	p := named.Params()
	group := affine{p: p.P, size: (p.BitSize + 7) / 8}
	return &curve{
		name: p.Name, params: params, group: group, key: key, order: p.N,
		guess: sync.OnceValue(func() *guesses { return newGuesses(group, point{p.Gx, p.Gy}) }),
	}
}

// newGuesses works the table of a group out from its base point.
func newGuesses(group affine, g point) *guesses {
	t := &guesses{group: group, xs: map[string]struct{}{}}
	last := t.remember(g, point{}, babySteps)
	giant := group.add(group.add(last, last), g)
	for at := giant; len(t.giants) < giantSteps; at = group.add(at, giant) {
		t.giants = append(t.giants, at)
	}
	// A generator that is stuck gives a private key of one repeated byte b, which is
	// b·0x0101…01, or one more than that (FIPS 186-5, A.2.2, adds one).
	ones := group.multiply(new(big.Int).SetBytes(bytes.Repeat([]byte{1}, group.size)), g)
	t.remember(ones, point{}, 0xff)
	t.remember(ones, g, 0xff)
	return t
}

// remember notes 1·step + offset … count·step + offset as guessable, and returns the last.
func (t *guesses) remember(step, offset point, count int) point {
	at := offset
	for range count {
		at = t.group.add(at, step)
		t.xs[t.group.key(at)] = struct{}{}
	}
	return at
}

func (g *Gate) curve(params []byte) *curve {
	for _, c := range g.curves {
		if bytes.Equal(c.params, params) {
			return c
		}
	}
	return nil
}

// checkEC is the full public key validation of SEC 1, 3.2.2.1, and more.
func (g *Gate) checkEC(key *ecKey, params []byte) error {
	c := g.curve(params)
	if !bytes.Equal(key.params, c.params) {
		return fmt.Errorf("%w: %s, ordered was %s", ErrCurve, g.describe(key.params), c.name)
	}
	if err := c.checkEncoding(key.point); err != nil {
		return err
	}
	// NewPublicKey refuses coordinates that are not below p and points off the curve.
	public, err := c.key.NewPublicKey(key.point)
	if err != nil {
		return fmt.Errorf("%w: not on %s: %w", ErrPoint, c.name, err)
	}
	if err := c.checkOrder(public); err != nil {
		return err
	}
	q := c.group.decode(key.point)
	if q.x.Sign() == 0 {
		return fmt.Errorf("%w: x is zero", ErrPoint)
	}
	if c.guess().include(q) {
		return fmt.Errorf("%w: it is within ±%d, or one byte repeated", ErrGuessable, smallScalar)
	}
	return nil
}

// describe says what the parameters of another curve are. RFC 5480, 2.1.1, allows
// a named curve only.
func (g *Gate) describe(params []byte) string {
	if c := g.curve(params); c != nil {
		return c.name
	}
	switch {
	case len(params) == 0:
		return "no parameters"
	case params[0] == 0x30: // SEQUENCE
		return "explicit parameters"
	case params[0] == 0x05: // NULL
		return "implicit parameters"
	}
	return fmt.Sprintf("parameters %x", params)
}

// checkEncoding wants 0x04 || x || y (SEC 1, 2.3.3; RFC 5480, 2.2, requires no other to be supported).
func (c *curve) checkEncoding(encoded []byte) error {
	switch {
	case len(encoded) == 0:
		return fmt.Errorf("%w: empty", ErrPoint)
	case encoded[0] == 0 && len(encoded) == 1:
		return fmt.Errorf("%w: the identity", ErrPoint)
	case encoded[0] == 2 || encoded[0] == 3:
		return fmt.Errorf("%w: compressed", ErrPoint)
	case encoded[0] != 4:
		return fmt.Errorf("%w: form %#02x, wanted 0x04", ErrPoint, encoded[0])
	case len(encoded) != 1+2*c.group.size:
		return fmt.Errorf("%w: %d bytes, wanted %d", ErrPoint, len(encoded), 1+2*c.group.size)
	}
	return nil
}

// checkOrder wants n·Q to be the identity: (n-1)·Q is then -Q, which has Q's x. On a
// curve of cofactor 1, as these are, that follows from Q being on it, and SEC 1, 3.2.2.1,
// lets it be left out; it is here because it is cheap and for curves to come.
func (c *curve) checkOrder(q *ecdh.PublicKey) error {
	less := new(big.Int).Sub(c.order, big.NewInt(1)).FillBytes(make([]byte, c.group.size))
	private, err := c.key.NewPrivateKey(less)
	if err != nil {
		return fmt.Errorf("%w: order of %s: %w", ErrPoint, c.name, err)
	}
	x, err := private.ECDH(q)
	if err != nil || !bytes.Equal(x, q.Bytes()[1:1+c.group.size]) {
		return fmt.Errorf("%w: its order is not that of %s", ErrPoint, c.name)
	}
	return nil
}

// include finds k of Q = k·G by baby steps and giant steps (Shanks 1971): some
// Q ± i·giant is then among the baby steps. Only x is compared, so k and -k are one.
func (t *guesses) include(q point) bool {
	xs, apart := t.group.sums(q, t.giants)
	if !apart {
		return true // Q is ±i·giant
	}
	for _, x := range append(xs, q.x) {
		if _, ok := t.xs[t.group.key(point{x: x})]; ok {
			return true
		}
	}
	return false
}
