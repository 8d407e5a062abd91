//go:build !race

package simulation

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// PIN lengths that a card takes, in bytes.
const minPIN, maxPIN = 4, 32

// card is a token as a thing: it can be put into another hub, and can die.
type card struct {
	serial      pkcs11.TokenSerial // shown once it is initialised
	label       pkcs11.TokenLabel
	initialised bool
	so, user    string
	objects     []object
	dead        bool
	// wiping says that objects were destroyed since it was initialised.
	wiping bool
	// by is the station that initialised it last.
	by string
	// inserted counts how often it was put into a slot: a session does not outlive that.
	inserted int
	// wrong counts the PINs that were tried in vain.
	wrong int
}

type object struct {
	pkcs11.Object
	key *ecdsa.PrivateKey
}

// hub is one reader with slots, each holding a card or nothing. It is for one goroutine
// at a time, which call has to see to.
type hub struct {
	name  string
	slots []*card
	// call lets an effect on a card happen, or has it fail.
	call func(ctx context.Context, what string, effect func() error) error
	// wrote hears of a card that was written.
	wrote func(op string, c *card)
}

func newHub(name string, slots int) *hub {
	return &hub{
		name: name, slots: make([]*card, slots), wrote: func(string, *card) {},
		call: func(ctx context.Context, _ string, effect func() error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return effect()
		},
	}
}

func (h *hub) description(slot int) string { return fmt.Sprintf("%s reader %d", h.name, slot+1) }

// insert puts a card into an empty slot.
func (h *hub) insert(slot int, c *card) {
	c.inserted++
	h.slots[slot] = c
}

// pull takes the card out of a slot.
func (h *hub) pull(slot int) *card {
	c := h.slots[slot]
	h.slots[slot] = nil
	return c
}

func (h *hub) show(slot int) pkcs11.Slot {
	s := pkcs11.Slot{Description: h.description(slot)}
	c := h.slots[slot]
	switch {
	case c == nil:
	case c.dead:
		s.Fault = &pkcs11.Error{Op: "C_GetTokenInfo", Slot: s.Description, Code: 0x30, Kind: pkcs11.ErrDevice}
	default:
		info := c.info()
		s.Token = &info
	}
	return s
}

// find is the card that an identity names.
func (h *hub) find(id pkcs11.Identity) *card {
	for i := range h.slots {
		if s := h.show(i); (id != pkcs11.Identity{}) && s.Is(id) {
			return h.slots[i]
		}
	}
	return nil
}

func (c *card) info() pkcs11.TokenInfo {
	i := pkcs11.TokenInfo{
		Label: c.label, Manufacturer: "simulation", Model: "simulated", Flags: pkcs11.FlagLoginRequired,
		MinPINLen: minPIN, MaxPINLen: maxPIN, HardwareVersion: "1.0", FirmwareVersion: "1.0",
	}
	if c.initialised {
		i.Serial = c.serial
		i.Flags |= pkcs11.FlagTokenInitialized
	}
	if c.user != "" {
		i.Flags |= pkcs11.FlagUserPINInitialized
	}
	return i
}

// module is a process's view of a hub. It implements pkcs11.Module.
type module struct {
	hub      *hub
	closed   bool
	sessions []*session
}

// do is one call; what names it with its card.
func (m *module) do(ctx context.Context, what string, effect func() error) error {
	if m.closed {
		return &pkcs11.Error{Op: what, Kind: pkcs11.ErrClosed}
	}
	return m.hub.call(ctx, what, effect)
}

func (m *module) Info(ctx context.Context) (info pkcs11.ModuleInfo, err error) {
	err = m.do(ctx, "C_GetInfo", func() error {
		info = pkcs11.ModuleInfo{Manufacturer: "simulation", Description: "cards in memory", LibraryVersion: "1.0", CryptokiVersion: "2.40"}
		return nil
	})
	return info, err
}

func (m *module) Slots(ctx context.Context) (slots []pkcs11.Slot, err error) {
	err = m.do(ctx, "C_GetSlotList", func() error {
		for i := range m.hub.slots {
			slots = append(slots, m.hub.show(i))
		}
		return nil
	})
	return slots, err
}

func (m *module) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	s := &session{module: m, id: id}
	err := m.do(ctx, "C_OpenSession of "+id.String(), func() error {
		if s.card = m.hub.find(id); s.card == nil {
			return &pkcs11.Error{Op: "C_OpenSession", Kind: pkcs11.ErrNotFound, Detail: id.String()}
		}
		s.label, s.inserted = s.card.label, s.card.inserted
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.sessions = append(m.sessions, s)
	return s, nil
}

func (m *module) Close() error {
	m.closed = true
	return nil
}

type login int

const (
	nobody login = iota
	officer
	holder
)

// session is a card as one process has opened it. It implements pkcs11.Token.
type session struct {
	module   *module
	id       pkcs11.Identity
	card     *card
	label    pkcs11.TokenLabel
	inserted int
	login    login
	closed   bool
}

func (s *session) do(ctx context.Context, op string, effect func(*card) error) error {
	if s.closed {
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrClosed}
	}
	return s.module.do(ctx, op+" of "+s.id.String(), func() error {
		c := s.module.hub.find(s.id)
		switch {
		case s.card.dead:
			return pkcs11.CodeError(op, 0x30)
		case c == nil:
			return pkcs11.CodeError(op, 0x32)
		case c != s.card || c.label != s.label:
			return &pkcs11.Error{Op: op, Kind: pkcs11.ErrTokenReplaced}
		case c.inserted != s.inserted:
			s.inserted, s.login = c.inserted, nobody
		}
		return effect(c)
	})
}

// write is do for what changes the card.
func (s *session) write(ctx context.Context, op string, who login, effect func(*card) error) error {
	return s.do(ctx, op, func(c *card) error {
		if s.login != who {
			return pkcs11.CodeError(op, 0x101)
		}
		if err := effect(c); err != nil {
			return err
		}
		s.module.hub.wrote(op, c)
		return nil
	})
}

func (s *session) Identity() pkcs11.Identity { return s.id }

func (s *session) Info(ctx context.Context) (info pkcs11.TokenInfo, err error) {
	err = s.do(ctx, "C_GetTokenInfo", func(c *card) error { info = c.info(); return nil })
	return info, err
}

func invalidPIN(op, pin string) error {
	if len(pin) < minPIN || len(pin) > maxPIN {
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrPINInvalid}
	}
	return nil
}

// same compares a PIN with what is set.
func (c *card) same(op, tried, set string) error {
	if tried == set && set != "" {
		return nil
	}
	c.wrong++
	return &pkcs11.Error{Op: op, Code: 0xA0, Kind: pkcs11.ErrPINIncorrect}
}

func (s *session) Init(ctx context.Context, so pkcs11.SOPIN, label pkcs11.TokenLabel) (info pkcs11.TokenInfo, err error) {
	const op = "C_InitToken"
	if err := label.Validate(); err != nil {
		return info, &pkcs11.Error{Op: op, Kind: pkcs11.ErrGeneral, Detail: err.Error()}
	}
	err = s.do(ctx, op, func(c *card) error {
		if err := invalidPIN(op, so.Reveal()); err != nil {
			return err
		}
		for _, other := range s.module.sessions {
			if other != s && !other.closed && other.card == c {
				return &pkcs11.Error{Op: op, Code: 0xB6, Kind: pkcs11.ErrSessionExists}
			}
		}
		s.login = nobody // no session is left open beside it
		if c.initialised {
			if err := c.same(op, so.Reveal(), c.so); err != nil {
				return err
			}
		}
		c.initialised, c.label, c.so, c.user, c.objects = true, label, so.Reveal(), "", nil
		s.id, s.label, s.login = pkcs11.Identity{Serial: c.serial}, label, nobody
		info = c.info()
		s.module.hub.wrote(op, c)
		return nil
	})
	return info, err
}

func (s *session) log(ctx context.Context, as login, pin string, set func(*card) string) error {
	const op = "C_Login"
	return s.do(ctx, op, func(c *card) error {
		if err := invalidPIN(op, pin); pin == "" {
			return err
		}
		if s.login != nobody {
			return pkcs11.CodeError(op, 0x100)
		}
		if err := c.same(op, pin, set(c)); err != nil {
			return err
		}
		s.login = as
		return nil
	})
}

func (s *session) LoginSO(ctx context.Context, so pkcs11.SOPIN) error {
	return s.log(ctx, officer, so.Reveal(), func(c *card) string { return c.so })
}

func (s *session) LoginUser(ctx context.Context, user pkcs11.UserPIN) error {
	return s.log(ctx, holder, user.Reveal(), func(c *card) string { return c.user })
}

func (s *session) Logout(ctx context.Context) error {
	return s.do(ctx, "C_Logout", func(*card) error { s.login = nobody; return nil })
}

func (s *session) Mechanisms(ctx context.Context) (list []pkcs11.MechanismInfo, err error) {
	err = s.do(ctx, "C_GetMechanismList", func(*card) error {
		list = []pkcs11.MechanismInfo{
			{Mechanism: pkcs11.MechanismECKeyPairGen, MinKeySize: 256, MaxKeySize: 256, Flags: pkcs11.FlagGenerateKeyPair},
			{Mechanism: pkcs11.MechanismECDSA, MinKeySize: 256, MaxKeySize: 256, Flags: pkcs11.FlagSign},
		}
		return nil
	})
	return list, err
}

func (s *session) InitUserPIN(ctx context.Context, user pkcs11.UserPIN) error {
	const op = "C_InitPIN"
	return s.write(ctx, op, officer, func(c *card) error {
		if err := invalidPIN(op, user.Reveal()); err != nil {
			return err
		}
		c.user = user.Reveal()
		return nil
	})
}

func (s *session) set(ctx context.Context, who login, pin func(*card) *string, from, to string) error {
	const op = "C_SetPIN"
	return s.write(ctx, op, who, func(c *card) error {
		if err := c.same(op, from, *pin(c)); err != nil {
			return err
		}
		if err := invalidPIN(op, to); err != nil {
			return err
		}
		*pin(c) = to
		return nil
	})
}

func (s *session) SetSOPIN(ctx context.Context, from, to pkcs11.SOPIN) error {
	return s.set(ctx, officer, func(c *card) *string { return &c.so }, from.Reveal(), to.Reveal())
}

func (s *session) SetUserPIN(ctx context.Context, from, to pkcs11.UserPIN) error {
	return s.set(ctx, holder, func(c *card) *string { return &c.user }, from.Reveal(), to.Reveal())
}

func matches(q pkcs11.Query, o object) bool {
	return (q.Class == nil || *q.Class == o.Class) && (len(q.ID) == 0 || q.ID.Equal(o.ID))
}

func (s *session) Objects(ctx context.Context, q pkcs11.Query) (list []pkcs11.Object, err error) {
	err = s.do(ctx, "C_FindObjects", func(c *card) error {
		for _, o := range c.objects {
			if matches(q, o) && (o.Class != pkcs11.ClassPrivateKey || s.login == holder) {
				seen := o.Object
				if q.Shallow {
					seen.PublicKey, seen.Claims = nil, pkcs11.KeyClaims{}
				}
				list = append(list, seen)
			}
		}
		return nil
	})
	return list, err
}

// omissible are the attributes without which a key is made all the same.
func omissible() []string {
	return []string{"CKA_LABEL", "CKA_EXTRACTABLE", "CKA_SENSITIVE", "CKA_PRIVATE", "CKA_SIGN", "CKA_VERIFY", "CKA_TOKEN"}
}

func (s *session) GenerateKeyPair(ctx context.Context, t pkcs11.KeyPairTemplate) (public pkcs11.Object, err error) {
	const op = "C_GenerateKeyPair"
	err = s.write(ctx, op, holder, func(c *card) error {
		for _, o := range t.Omit {
			if !slices.Contains(omissible(), o) {
				return pkcs11.CodeError(op, 0xD0)
			}
		}
		p256, err := pkcs11.AlgorithmByName("ec-p256")
		if err != nil || t.Algorithm.Generate != p256.Generate || !bytes.Equal(t.Algorithm.ECParams, p256.ECParams) {
			return &pkcs11.Error{Op: op, Code: 0x70, Kind: pkcs11.ErrUnsupported}
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		public = pkcs11.Object{Class: pkcs11.ClassPublicKey, ID: slices.Clone(t.ID), Label: t.Label}
		if slices.Contains(t.Omit, "CKA_LABEL") {
			public.Label = ""
		}
		if public.PublicKey, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
			return err
		}
		private := pkcs11.Object{Class: pkcs11.ClassPrivateKey, ID: public.ID, Label: public.Label, Claims: pkcs11.KeyClaims{
			Private: pkcs11.ClaimYes, Sensitive: pkcs11.ClaimYes, Extractable: pkcs11.ClaimNo, AlwaysSensitive: pkcs11.ClaimYes,
			NeverExtractable: pkcs11.ClaimYes, Local: pkcs11.ClaimYes, Sign: pkcs11.ClaimYes,
		}}
		c.objects = append(c.objects, object{Object: public}, object{private, key})
		public.Claims = private.Claims
		return nil
	})
	return public, err
}

func (s *session) Sign(ctx context.Context, id pkcs11.KeyID, m pkcs11.Mechanism, input []byte) (signature []byte, err error) {
	const op = "C_Sign"
	err = s.do(ctx, op, func(c *card) error {
		if s.login != holder {
			return pkcs11.CodeError(op, 0x101)
		}
		var found []object
		class := pkcs11.ClassPrivateKey
		for _, o := range c.objects {
			if len(id) > 0 && matches(pkcs11.Query{Class: &class, ID: id}, o) {
				found = append(found, o)
			}
		}
		switch {
		case len(found) == 0:
			return &pkcs11.Error{Op: op, Kind: pkcs11.ErrNotFound}
		case len(found) > 1:
			return &pkcs11.Error{Op: op, Kind: pkcs11.ErrAmbiguous}
		case m != pkcs11.MechanismECDSA:
			return &pkcs11.Error{Op: op, Code: 0x70, Kind: pkcs11.ErrUnsupported}
		}
		r, v, err := ecdsa.Sign(rand.Reader, found[0].key, input)
		if err != nil {
			return err
		}
		signature = make([]byte, 64)
		r.FillBytes(signature[:32])
		v.FillBytes(signature[32:])
		return nil
	})
	return signature, err
}

func (s *session) WriteCertificate(ctx context.Context, t pkcs11.CertificateObject) error {
	const op = "C_CreateObject"
	return s.write(ctx, op, holder, func(c *card) error {
		if _, err := x509.ParseCertificate(t.DER); err != nil {
			return &pkcs11.Error{Op: op, Kind: pkcs11.ErrTemplateRefused, Detail: "not a certificate"}
		}
		c.objects = append(c.objects, object{Object: pkcs11.Object{
			Class: pkcs11.ClassCertificate, ID: slices.Clone(t.ID), Label: t.Label, Certificate: bytes.Clone(t.DER),
		}})
		return nil
	})
}

func (s *session) Destroy(ctx context.Context, q pkcs11.Query) (n int, err error) {
	const op = "C_DestroyObject"
	if q.Class == nil && len(q.ID) == 0 {
		return 0, &pkcs11.Error{Op: op, Kind: pkcs11.ErrGeneral, Detail: "everything is not a selection"}
	}
	err = s.write(ctx, op, holder, func(c *card) error {
		before := len(c.objects)
		c.objects = slices.DeleteFunc(c.objects, func(o object) bool { return !q.Passing && matches(q, o) })
		n = before - len(c.objects)
		return nil
	})
	return n, err
}

func (s *session) Close() error {
	s.closed, s.login = true, nobody
	s.module.sessions = slices.DeleteFunc(s.module.sessions, func(o *session) bool { return o == s })
	return nil
}

// pins are all that the card has, for whoever looks for them elsewhere.
func (c *card) pins() []string {
	return slices.DeleteFunc([]string{c.so, c.user}, func(p string) bool { return strings.TrimSpace(p) == "" })
}
