package keycheck

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"math/big"
	"testing"
)

func curveOf(want Want) elliptic.Curve {
	if bytes.Equal(want.ECParams, p256().ECParams) {
		return elliptic.P256()
	}
	return elliptic.P384()
}

func TestGoodECKeysPass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want  Want
		count int
	}{{p256(), 100}, {p384(), 30}} {
		for range c.count {
			if err := gate().Check(newEC(t, curveOf(c.want)), c.want); err != nil {
				t.Error(err)
			}
		}
	}
}

// pointOf multiplies with the standard library, not with the code under test.
func pointOf(t testing.TB, c *curve, k *big.Int) []byte {
	t.Helper()
	k = new(big.Int).Mod(k, c.order)
	private, err := c.key.NewPrivateKey(k.FillBytes(make([]byte, c.group.size)))
	if err != nil {
		t.Fatal(err)
	}
	return private.PublicKey().Bytes()
}

func TestGuessablePrivateKeys(t *testing.T) {
	t.Parallel()
	for _, want := range []Want{p256(), p384()} {
		c := gate().curve(want.ECParams)
		refused := func(k *big.Int) {
			t.Helper()
			wantError(t, gate().Check(ecSPKI(t, c.params, pointOf(t, c, k)), want), ErrGuessable)
		}
		for _, k := range []int64{1, 2, 3, babySteps, babySteps + 1, 2*babySteps + 1, 2*babySteps + 2, 3*babySteps + 1, 3*babySteps + 2, 12345, smallScalar - 1, smallScalar} {
			refused(big.NewInt(k))
			refused(big.NewInt(-k))
		}
		for _, b := range []byte{0x01, 0x55, 0xaa, 0xfe, 0xff} {
			k := new(big.Int).SetBytes(bytes.Repeat([]byte{b}, c.group.size))
			refused(k)
			refused(k.Add(k, big.NewInt(1)))
		}
		past := big.NewInt(giantSteps*(2*babySteps+1) + babySteps + 1)
		wantError(t, gate().Check(ecSPKI(t, c.params, pointOf(t, c, past)), want), nil)
	}
}

// TestAffine compares the arithmetic with the standard library's.
func TestAffine(t *testing.T) {
	t.Parallel()
	for _, c := range gate().curves {
		g := c.group.decode(pointOf(t, c, big.NewInt(1)))
		for range 5 {
			a, b := below(t, c.order), below(t, c.order)
			sum := c.group.add(c.group.multiply(a, g), c.group.multiply(b, g))
			if want := c.group.decode(pointOf(t, c, new(big.Int).Add(a, b))); sum.x.Cmp(want.x) != 0 || sum.y.Cmp(want.y) != 0 {
				t.Errorf("%s: %d·G + %d·G is wrong", c.name, a, b)
			}
		}
		a, b := c.group.multiply(below(t, c.order), g), c.group.multiply(below(t, c.order), g)
		xs, apart := c.group.sums(a, []point{b, g})
		for i, want := range []point{c.group.add(a, g), c.group.add(a, c.group.negate(g)), c.group.add(a, b), c.group.add(a, c.group.negate(b))} {
			if !apart || len(xs) != 4 || xs[i].Cmp(want.x) != 0 {
				t.Errorf("%s: the sums are %v, %v", c.name, xs, apart)
			}
		}
		for _, same := range []point{a, c.group.negate(a)} {
			if _, apart := c.group.sums(a, []point{b, same, g}); apart {
				t.Errorf("%s: a point is apart from itself", c.name)
			}
		}
		none := point{}
		for what, got := range map[string]point{
			"n·G": c.group.multiply(c.order, g), "G - G": c.group.add(g, c.group.negate(g)),
			"G + 0 - G": c.group.add(c.group.add(g, none), c.group.negate(g)),
			"0 + 0":     c.group.add(none, none), "-0": c.group.negate(none), "0·G": c.group.multiply(new(big.Int), g),
		} {
			if got.x != nil {
				t.Errorf("%s: %s is not the identity", c.name, what)
			}
		}
	}
}

func TestBadPoints(t *testing.T) {
	for _, want := range []Want{p256(), p384()} {
		c := gate().curve(want.ECParams)
		good := pointOf(t, c, below(t, c.order))
		size := c.group.size
		changed := func(change func([]byte) []byte) []byte { return change(bytes.Clone(good)) }
		for _, row := range []struct {
			name  string
			point []byte
			want  error
		}{
			{"good", good, nil},
			{"empty", nil, ErrPoint},
			{"the identity", []byte{0}, ErrPoint},
			{"the identity, padded", make([]byte, len(good)), ErrPoint},
			{"compressed", append([]byte{2 + good[2*size]&1}, good[1:1+size]...), ErrPoint},
			{"hybrid", changed(func(p []byte) []byte { p[0] = 6 + p[2*size]&1; return p }), ErrPoint},
			{"unknown form", changed(func(p []byte) []byte { p[0] = 5; return p }), ErrPoint},
			{"too short", good[:2*size], ErrPoint},
			{"too long", append(bytes.Clone(good), 0), ErrPoint},
			{"the form alone", []byte{4}, ErrPoint},
			{"off the curve", changed(func(p []byte) []byte { p[2*size] ^= 1; return p }), ErrPoint},
			{"x and y exchanged", append(append([]byte{4}, good[1+size:]...), good[1:1+size]...), ErrPoint},
			{"all zero", append([]byte{4}, make([]byte, 2*size)...), ErrPoint},
			{"x not below p", notBelow(c), ErrPoint},
			{"x = 0 on the curve", xZero(c, want), ErrPoint},
			{"in an OCTET STRING, as CKA_EC_POINT is", append([]byte{4, byte(len(good))}, good...), ErrPoint},
			{"the generator", pointOf(t, c, big.NewInt(1)), ErrGuessable},
		} {
			t.Run(c.name+"/"+row.name, func(t *testing.T) {
				wantError(t, gate().Check(ecSPKI(t, c.params, row.point), want), row.want)
			})
		}
	}
}

// xZero is the point (0, √b), which both curves have.
func xZero(c *curve, want Want) []byte {
	y := new(big.Int).ModSqrt(curveOf(want).Params().B, c.group.p)
	return append(append([]byte{4}, make([]byte, c.group.size)...), y.FillBytes(make([]byte, c.group.size))...)
}

// notBelow is the same point with x + p for x, which is 0 + p.
func notBelow(c *curve) []byte {
	out := append([]byte{4}, c.group.p.Bytes()...)
	return append(out, make([]byte, c.group.size)...)
}

// TestOrderOfPoint: no point of these curves has a wrong order, so the curve is told a
// wrong one.
func TestOrderOfPoint(t *testing.T) {
	c := *gate().curve(p256().ECParams)
	q, err := ecdh.P256().NewPublicKey(pointOf(t, &c, below(t, c.order)))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, c.checkOrder(q), nil)
	c.order = new(big.Int).Sub(c.order, big.NewInt(2))
	wantError(t, c.checkOrder(q), ErrPoint)
}

func TestCurveParameters(t *testing.T) {
	c := gate().curve(p256().ECParams)
	point := pointOf(t, c, below(t, c.order))
	for _, row := range []struct {
		name   string
		params []byte
		want   error
	}{
		{"P-256", c.params, nil},
		{"P-384", p384().ECParams, ErrCurve},
		{"secp256k1", []byte{6, 5, 43, 129, 4, 0, 10}, ErrCurve},
		{"implicit", []byte{5, 0}, ErrCurve},
		{"none", nil, ErrCurve},
		{"the start of explicit ones", []byte{0x30, 3, 2, 1, 1}, ErrCurve},
	} {
		t.Run(row.name, func(t *testing.T) {
			wantError(t, gate().Check(ecSPKI(t, row.params, point), p256()), row.want)
		})
	}
}
