package keycheck

import (
	"crypto/elliptic"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// small makes RSA keys of 512 bits: Moduli leaves the size to Gate.
func small(t testing.TB, p, q *big.Int) []byte { return rsaSPKI(t, mul(p, q), f4()) }

// filled returns Moduli with so many other moduli of 2048 bits.
func filled(t testing.TB, count int) *Moduli {
	t.Helper()
	m := new(Moduli)
	seed := rand.NewChaCha8([32]byte{1})
	random := make([]byte, 256)
	for i := range count {
		if _, err := seed.Read(random); err != nil {
			t.Fatal(err)
		}
		random[0] |= 0x80
		random[255] |= 1
		if err := m.Add(Known{fmt.Sprintf("unit-%06d-g1-1", i), rsaSPKI(t, new(big.Int).SetBytes(random), f4())}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func wantConflict(t *testing.T, err error, kind Sentinel, keys ...string) {
	t.Helper()
	var conflict *ConflictError
	if !errors.As(err, &conflict) || conflict.Kind != kind || !errors.Is(err, kind) || !slices.Equal(conflict.Keys, keys) {
		t.Errorf("got %v, wanted %v with %v", err, kind, keys)
	}
}

// TestConflicts puts the other key into a closed chunk, the open one, and both.
func TestConflicts(t *testing.T) {
	p, q, r, s := prime(t, 256), prime(t, 256), prime(t, 256), prime(t, 256)
	for _, place := range []struct{ before, between, after int }{{0, 0, 0}, {3, 3, 3}, {70, 3, 150}, {10, 90, 10}} {
		t.Run(fmt.Sprint(place), func(t *testing.T) {
			m := filled(t, place.before)
			add := func(key Known) {
				t.Helper()
				if err := m.Add(key); err != nil {
					t.Fatal(err)
				}
			}
			fill := func(name string, count int) {
				for i := range count {
					add(Known{fmt.Sprint(name, i), rsaSPKI(t, odd(t, 2048), f4())})
				}
			}
			add(Known{"pq", small(t, p, q)})
			fill("between", place.between)
			add(Known{"rs", small(t, r, s)})
			fill("after", place.after)

			wantConflict(t, m.Admit(Known{"new", small(t, p, prime(t, 256))}), ErrSharedFactor, "pq")
			wantConflict(t, m.Admit(Known{"new", small(t, prime(t, 256), s)}), ErrSharedFactor, "rs")
			wantConflict(t, m.Admit(Known{"new", small(t, q, r)}), ErrSharedFactor, "pq", "rs")
			wantConflict(t, m.Admit(Known{"new", small(t, p, q)}), ErrDuplicate, "pq")
			wantConflict(t, m.Admit(Known{"pq", rsaSPKI(t, mul(p, q), big.NewInt(65539))}), ErrDuplicate, "pq")
			before := m.Len()
			wantError(t, m.Admit(Known{"rs", small(t, r, s)}), nil) // a step done again
			wantError(t, m.Check(Known{"new", small(t, prime(t, 256), prime(t, 256))}), nil)
			if m.Len() != before {
				t.Error("something was remembered that should not be")
			}
			wantError(t, m.Admit(Known{"new", small(t, prime(t, 256), prime(t, 256))}), nil)
			if m.Len() != before+1 {
				t.Error("the new key was not remembered")
			}
		})
	}
}

// TestKnownAndStillRefused: that a key is in the journal already, as after a restart,
// does not excuse what it shares with others.
func TestKnownAndStillRefused(t *testing.T) {
	p := prime(t, 256)
	a, b := Known{"a", small(t, p, prime(t, 256))}, Known{"b", small(t, p, prime(t, 256))}
	m := new(Moduli)
	unread, err := m.Load(func(yield func(Known, error) bool) { _ = yield(a, nil) && yield(b, nil) })
	if unread != nil || err != nil {
		t.Fatal(unread, err)
	}
	wantConflict(t, m.Admit(b), ErrSharedFactor, "a")
	wantConflict(t, m.Admit(a), ErrSharedFactor, "b")
	if text := m.Admit(a).Error(); strings.Contains(text, p.String()) || strings.Contains(text, p.Text(16)) {
		t.Error("the error gives the prime away")
	}
}

// TestSameModulusOfAnother: another exponent does not make it another key.
func TestSameModulusOfAnother(t *testing.T) {
	n := mul(prime(t, 256), prime(t, 256))
	a, b := Known{"a", rsaSPKI(t, n, f4())}, Known{"b", rsaSPKI(t, n, big.NewInt(65539))}
	m := new(Moduli)
	wantError(t, errors.Join(m.Add(a), m.Add(b)), nil)
	wantConflict(t, m.Admit(a), ErrDuplicate, "b")
}

func TestSameECKey(t *testing.T) {
	m := new(Moduli)
	key := newEC(t, elliptic.P256())
	wantError(t, m.Admit(Known{"a", key}), nil)
	wantError(t, m.Admit(Known{"a", key}), nil)
	wantConflict(t, m.Admit(Known{"b", key}), ErrDuplicate, "a")
	wantError(t, m.Admit(Known{"b", newEC(t, elliptic.P256())}), nil)
}

// TestOnlyOneIsAdmitted: tokens of one lot, at the same moment.
func TestOnlyOneIsAdmitted(t *testing.T) {
	m := filled(t, 100)
	p, key := prime(t, 256), newEC(t, elliptic.P256())
	var keys []Known
	for i := range 8 {
		keys = append(keys, Known{fmt.Sprint("rsa", i), small(t, p, prime(t, 256))}, Known{fmt.Sprint("ec", i), key})
	}
	errs := make([]error, len(keys))
	var all sync.WaitGroup
	for i, k := range keys {
		all.Go(func() { errs[i] = m.Admit(k) })
	}
	all.Wait()
	admitted := map[string]int{}
	for i, err := range errs {
		if err == nil {
			admitted[strings.TrimRight(keys[i].ID, "01234567")]++
		}
	}
	if admitted["rsa"] != 1 || admitted["ec"] != 1 {
		t.Errorf("admitted: %v", admitted)
	}
}

func TestLoad(t *testing.T) {
	broken := errors.New("the disk is gone")
	ed := public(t, newEd25519(t))
	rows := func(last error) iter.Seq2[Known, error] {
		return func(yield func(Known, error) bool) {
			_ = yield(Known{"rsa", rsaSPKI(t, odd(t, 512), f4())}, nil) &&
				yield(Known{"junk", []byte("junk")}, nil) &&
				yield(Known{"ed", ed}, nil) &&
				yield(Known{}, last)
		}
	}
	m := new(Moduli)
	unread, err := m.Load(rows(broken))
	wantError(t, err, broken)
	if !slices.Equal(unread, []string{"junk", "ed"}) || m.Len() != 3 {
		t.Errorf("unread %v, %d known", unread, m.Len())
	}
	wantError(t, m.Admit(Known{"new", ed}), ErrKeyType)
	wantError(t, m.Check(Known{"new", []byte("junk")}), ErrMalformed)
}

func TestReducer(t *testing.T) {
	for _, bits := range []int{2, 63, 64, 65, 512, 2047, 2048, 4096, 16384} {
		n := odd(t, bits)
		r := newReducer(n, chunkBits)
		for _, length := range []int{2, bits, bits + 1, 2 * bits, 5000, chunkBits / 2, chunkBits, chunkBits + 16384} {
			x := odd(t, length)
			before := new(big.Int).Set(x)
			if got := r.mod(x); got.Cmp(new(big.Int).Rem(before, n)) != 0 {
				t.Errorf("%d bits modulo %d bits is wrong", length, bits)
			}
			if x.Cmp(before) != 0 {
				t.Errorf("%d bits modulo %d bits: the dividend was changed", length, bits)
			}
		}
		// Halves of zeros.
		x := new(big.Int).Lsh(big.NewInt(1), chunkBits-1)
		if got := r.mod(x); got.Cmp(new(big.Int).Rem(x, n)) != 0 {
			t.Errorf("a power of two modulo %d bits is wrong", bits)
		}
	}
}

func TestConflictNamesAFew(t *testing.T) {
	e := &ConflictError{ErrSharedFactor, []string{"a", "b", "c", "d", "e", "f", "g"}}
	if got := e.Error(); !strings.HasSuffix(got, "a, b, c, d, e and 2 more") {
		t.Error(got)
	}
}
