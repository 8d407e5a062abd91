package keycheck

import (
	"crypto/sha256"
	"iter"
	"math/big"
	"sync"
)

// chunkBits is the length at which a chunk's product is closed: 64 moduli of 2048 bits.
const chunkBits = 1 << 17

// Moduli remembers every key that this station has seen, and finds those that have
// something in common with a new one. The zero value is empty and ready. It is safe
// for concurrent use; one check at a time goes through.
//
// Of each RSA modulus it keeps the number, and once more as part of a product: for
// each new key the products are taken modulo n and multiplied together modulo n, and
// one GCD of that with n tells whether anything is shared with any of them. That costs
// about 1 µs for each RSA-2048 key seen before; see the benchmarks.
type Moduli struct {
	mu     sync.Mutex
	keys   map[[sha256.Size]byte]string // id by the SHA-256 of the SubjectPublicKeyInfo
	closed []chunk
	open   []member
	bits   int // of the open ones together
}

type member struct {
	id string
	n  *big.Int
}

type chunk struct {
	members []member
	product *big.Int
}

// Known is a key seen before.
type Known struct {
	// ID is the caller's name for it, which a ConflictError tells.
	ID string
	// SPKI is its SubjectPublicKeyInfo, DER.
	SPKI []byte
}

// Load adds all of an iterator's keys, without checking them against each other. A key
// that cannot be read is remembered for its bytes only, and its id is returned among
// unread. An error of the iterator ends the loading and is returned.
func (m *Moduli) Load(known iter.Seq2[Known, error]) (unread []string, err error) {
	for key, err := range known {
		if err != nil {
			return unread, err
		}
		if m.Add(key) != nil {
			unread = append(unread, key.ID)
		}
	}
	return unread, nil
}

// Add remembers a key without checking it. The bytes of a key that is neither RSA nor
// EC, or malformed, are remembered all the same; the error (ErrMalformed, ErrKeyType) says that
// no more could be.
func (m *Moduli) Add(key Known) error {
	public, err := parse(key.SPKI)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(key, public)
	return err
}

// Admit checks a new key against all others and remembers it, in one go: of two jobs
// that bring the same key at the same moment one is refused. A key that is refused is
// not remembered. The same key under the same id may be admitted again.
// ErrMalformed, ErrKeyType; a *ConflictError for ErrDuplicate and ErrSharedFactor.
func (m *Moduli) Admit(key Known) error {
	public, err := parse(key.SPKI)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(key, public); err != nil {
		return err
	}
	m.add(key, public)
	return nil
}

// Check is Admit without remembering.
func (m *Moduli) Check(key Known) error {
	public, err := parse(key.SPKI)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.check(key, public)
}

// Len is the number of different keys remembered.
func (m *Moduli) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.keys)
}

func (m *Moduli) add(key Known, public publicKey) {
	sum := sha256.Sum256(key.SPKI)
	if _, ok := m.keys[sum]; ok {
		return
	}
	if m.keys == nil {
		m.keys = map[[sha256.Size]byte]string{}
	}
	m.keys[sum] = key.ID
	if public.rsa == nil {
		return
	}
	m.open = append(m.open, member{key.ID, public.rsa.n})
	if m.bits += public.rsa.n.BitLen(); m.bits >= chunkBits {
		m.closed = append(m.closed, chunk{m.open, productOfMembers(m.open)})
		m.open, m.bits = nil, 0
	}
}

func productOfMembers(members []member) *big.Int {
	factors := make([]*big.Int, len(members))
	for i, other := range members {
		factors[i] = other.n
	}
	return product(factors)
}

func (m *Moduli) check(key Known, public publicKey) error {
	id, known := m.keys[sha256.Sum256(key.SPKI)]
	if known && id != key.ID {
		return &ConflictError{ErrDuplicate, []string{id}}
	}
	if public.rsa == nil {
		return nil
	}
	n := public.rsa.n
	r := newReducer(n, chunkBits)
	if !shares(m.residue(r), n) {
		return nil
	}
	// Itself is found as well if it is known already.
	return conflict(n, m.sharing(r), known, key.ID)
}

// residue is the product of all moduli modulo n.
func (m *Moduli) residue(r *reducer) *big.Int {
	all := big.NewInt(1)
	for _, c := range m.closed {
		all.Mul(all, r.mod(c.product))
		all.Rem(all, r.n)
	}
	for _, other := range m.open {
		all.Mul(all, other.n)
		all.Rem(all, r.n)
	}
	return all
}

// sharing returns the members that have a divisor in common with n.
func (m *Moduli) sharing(r *reducer) []member {
	var found []member
	search := func(members []member) {
		for _, other := range members {
			if shares(other.n, r.n) {
				found = append(found, other)
			}
		}
	}
	for _, c := range m.closed {
		if shares(r.mod(c.product), r.n) {
			search(c.members)
		}
	}
	search(m.open)
	return found
}

func shares(a, n *big.Int) bool {
	return new(big.Int).GCD(nil, nil, a, n).Cmp(big.NewInt(1)) != 0
}

// conflict names the others. The key's own entry, if it has one, is none of them.
func conflict(n *big.Int, found []member, known bool, own string) error {
	conflict := &ConflictError{Kind: ErrSharedFactor}
	for _, other := range found {
		same := other.n.Cmp(n) == 0
		if same && known && other.id == own {
			continue
		}
		if same {
			conflict.Kind = ErrDuplicate
		}
		conflict.Keys = append(conflict.Keys, other.id)
	}
	if len(conflict.Keys) == 0 {
		return nil
	}
	return conflict
}
