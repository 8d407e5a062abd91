package cryptoki

import (
	"context"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// token is one token, held by its identity. Its session, when there is one, is
// the only thing that remembers a slot.
type token struct {
	m      *module
	id     pkcs11.Identity
	seen   pkcs11.TokenInfo // as last read; what expect compares with
	sess   *session
	fresh  bool   // it was initialised through this token
	made   []made // key pairs, by the open session and login
	closed bool
}

// session is an open session with the slot it was opened on. The slot id is
// worth something only as long as the session handle is.
type session struct {
	handle     p11.SessionHandle
	slot       uint
	generation int
	login      uint // who logged in by this session: CKU_SO, CKU_USER or nobody
	confirmed  bool // the expected token was seen in the session's own slot
}

// nobody is no CK_USER_TYPE.
const nobody = ^uint(0)

func (t *token) enter(ctx context.Context, op string) error {
	if err := t.m.enter(ctx, op); err != nil {
		return err
	}
	if t.closed {
		t.m.leave()
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrClosed, Detail: "the token was closed"}
	}
	if t.sess != nil && t.sess.generation != t.m.generation {
		t.sess, t.made = nil, nil
	}
	return nil
}

func (t *token) leave() { t.m.leave() }

// find establishes where the token is now: by the slot of the open session
// with one C_GetTokenInfo, else by looking through all slots.
func (t *token) find(op string) (place, error) {
	if t.sess == nil {
		at, err := t.m.locate(op, t.id, pkcs11.ErrTokenRemoved)
		if err != nil {
			return place{}, err
		}
		return at, t.note(op, at)
	}
	slot := t.slotOf(t.sess)
	t.sess.slot = slot
	info, err := t.m.tokenInfo(slot)
	if err != nil {
		return place{}, t.failed(err)
	}
	at := place{slot, info}
	if err := t.note(op, at); err != nil {
		return place{}, err
	}
	t.sess.confirmed = true
	return at, nil
}

// slotOf asks which slot a session is on. The slot was looked at before the session
// was opened on it; had it been given to another token in between, the session would
// be that token's, and look like the right one's as soon as the slot is given back. A
// token that is held by its slot shows by nothing else that it has changed places.
func (t *token) slotOf(s *session) uint {
	if s.confirmed && !t.heldBySlot() {
		return s.slot
	}
	info, err := t.m.ctx.GetSessionInfo(s.handle)
	if err != nil {
		return s.slot // what is wrong shows when its token is read
	}
	return info.SlotID
}

// heldBySlot reports whether the slot tells the token from others of its serial.
func (t *token) heldBySlot() bool { return t.id.Serial != "" && t.id.SlotDescription != "" }

// note compares what the token says now, and where it is if that counts, with what is
// expected of it and remembers it.
func (t *token) note(op string, now place) error {
	if t.heldBySlot() {
		if slot := t.m.slotDescription(now.slot); slot != t.id.SlotDescription {
			return t.failed(&pkcs11.Error{Op: op, Kind: pkcs11.ErrTokenReplaced, Detail: fmt.Sprintf("expected %s, it is in slot %q", t.id, slot)})
		}
	}
	if err := expect(op, now.info, t.seen, t.id); err != nil {
		return t.failed(err)
	}
	t.seen = now.info
	return nil
}

// verified makes sure that the token is still the expected one and that a
// session is open on it. Every call that writes or spends a PIN begins so.
func (t *token) verified(op string) (p11.SessionHandle, error) {
	at, err := t.find(op)
	if err != nil {
		return 0, err
	}
	if t.sess == nil {
		if err := t.openSession(at.slot); err != nil {
			return 0, err
		}
		if _, err := t.find(op); err != nil { // whose session is it?
			return 0, err
		}
	}
	return t.sess.handle, nil
}

// session is for calls that only read: an open session is used as it is, once it is
// known to be the token's.
func (t *token) session(op string) (p11.SessionHandle, error) {
	if t.sess != nil && t.sess.confirmed {
		return t.sess.handle, nil
	}
	return t.verified(op)
}

func (t *token) openSession(slot uint) error {
	handle, err := t.m.ctx.OpenSession(slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if errors.Is(err, p11.Error(p11.CKR_TOKEN_WRITE_PROTECTED)) {
		// Reading stays possible; writes will say why they are not.
		handle, err = t.m.ctx.OpenSession(slot, p11.CKF_SERIAL_SESSION)
	}
	if err != nil {
		return callError("C_OpenSession", err)
	}
	t.sess = &session{handle: handle, slot: slot, generation: t.m.generation, login: nobody}
	t.m.sessions++
	return nil
}

// dropSession closes the session if there is one, and forgets the handle either way.
func (t *token) dropSession() error {
	if t.sess == nil {
		return nil
	}
	err := t.m.ctx.CloseSession(t.sess.handle)
	t.sess, t.made = nil, nil
	t.m.sessions--
	return callError("C_CloseSession", err)
}

// failed passes an error on, and when the token or session is in doubt drops
// the session: a handle kept over a device error can mean another token's object.
func (t *token) failed(err error) error {
	for _, doubt := range []pkcs11.Sentinel{
		pkcs11.ErrTokenRemoved, pkcs11.ErrTokenReplaced, pkcs11.ErrTokenUnknown, pkcs11.ErrDevice,
	} {
		if errors.Is(err, doubt) {
			_ = t.dropSession() // the error that brought us here says more
			break
		}
	}
	return err
}

// call turns the result of one Cryptoki function on this token into an error.
func (t *token) call(op string, err error) error {
	if err == nil {
		return nil
	}
	return t.failed(callError(op, err))
}

// Identity implements pkcs11.Token.
func (t *token) Identity() pkcs11.Identity {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	return t.id
}

// Info implements pkcs11.Token.
func (t *token) Info(ctx context.Context) (pkcs11.TokenInfo, error) {
	const op = "C_GetTokenInfo"
	if err := t.enter(ctx, op); err != nil {
		return pkcs11.TokenInfo{}, err
	}
	defer t.leave()
	at, err := t.find(op)
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}
	return at.info, nil
}

// Close implements pkcs11.Token.
func (t *token) Close() error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	if t.m.closed || t.sess == nil || t.sess.generation != t.m.generation {
		return nil
	}
	// Another session on the same token would keep the login alive.
	if t.sess.login != nobody {
		_ = t.m.ctx.Logout(t.sess.handle)
	}
	return t.dropSession()
}
