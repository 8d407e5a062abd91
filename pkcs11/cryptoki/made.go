package cryptoki

import (
	"errors"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// made is a key pair that the open session made. Its handles are good as long as the session
// and its login are (PKCS#11 v2.40, section 5.6, C_CloseSession and C_Logout), so that they
// need not be searched for. They are kept only where the token was initialised through this
// one, which then has no other keys; who signs with them proves the signature elsewhere.
type made struct {
	public, private p11.ObjectHandle
	half, secret    pkcs11.Object // both at a glance; of no class what was not read
}

// keep notes a pair that was just made, of which the public half was read.
func (t *token) keep(public, private p11.ObjectHandle, half pkcs11.Object) {
	if t.fresh {
		t.made = append(t.made, made{public: public, private: private, half: glanceAt(half)})
	}
}

// keepSecret notes what was read of the private half of the pair that was noted last.
func (t *token) keepSecret(secret pkcs11.Object) {
	if t.fresh {
		t.made[len(t.made)-1].secret = glanceAt(secret)
	}
}

func glanceAt(o pkcs11.Object) pkcs11.Object {
	return pkcs11.Object{Class: o.Class, ID: o.ID, Label: o.Label}
}

// madeKey is the private key of an id, if this session made it and no other of that id.
func (t *token) madeKey(id pkcs11.KeyID) (key p11.ObjectHandle, ok bool) {
	for _, m := range t.made {
		if !m.half.ID.Equal(id) || len(id) == 0 {
			continue
		}
		if ok {
			return 0, false
		}
		key, ok = m.private, true
	}
	return key, ok
}

// madeHere is what was read of a key when this session made it: nothing that is written later
// changes a key.
func (t *token) madeHere(h p11.ObjectHandle) (pkcs11.Object, bool) {
	for _, m := range t.made {
		switch {
		case m.public == h:
			return m.half, true
		case m.private == h && m.secret.Class == pkcs11.ClassPrivateKey:
			return m.secret, true
		}
	}
	return pkcs11.Object{}, false
}

// noKey reports whether an object is known to be none of the keys on the token.
func (t *token) noKey(h p11.ObjectHandle) bool {
	return len(t.made) > 0 && !slices.ContainsFunc(t.made, func(m made) bool { return m.public == h || m.private == h })
}

// lostHandle reports whether a module says of a handle that it is none.
func lostHandle(err error) bool {
	return errors.Is(err, p11.Error(p11.CKR_KEY_HANDLE_INVALID)) || errors.Is(err, p11.Error(p11.CKR_OBJECT_HANDLE_INVALID))
}
