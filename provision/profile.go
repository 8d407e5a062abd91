package provision

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// TokenProfile is what this station knows of a token model. Where its fields are
// zero the model does what PKCS#11 says.
type TokenProfile struct {
	Name string
	// SOPIN says how a new SO PIN is chosen.
	SOPIN PINPolicy
	// FactorySOPIN is zero when the model comes uninitialised. FactorySince is when it
	// was configured: a failure before that says nothing about it.
	FactorySOPIN pkcs11.SOPIN
	FactorySince time.Time
	// SOPINUncounted says that wrong SO PINs cost nothing (ykcs11, where it is a key), so
	// that the factory's may be tried again when it is not known how a try has ended.
	SOPINUncounted bool
	// WorstKeyGeneration bounds C_GenerateKeyPair on this model, WorstInit C_InitToken
	// and WorstCall every other call; zero leaves it to the module's process.
	WorstKeyGeneration, WorstInit, WorstCall time.Duration
	// OmitAttributes are left out of key templates, by their PKCS#11 names.
	OmitAttributes []string

	// Identity says what tells the model's tokens apart.
	Identity IdentityBy
	// AsMade says that C_InitToken is not called: the token is used as its maker left
	// it, keeps the label that it has, and always claims to have a user PIN (ykcs11,
	// where C_InitToken resets the applet and blocks the token when it is cut off).
	AsMade bool
	// UserPIN says how the user PIN is set; FactoryUserPIN is the one that is replaced.
	UserPIN        UserPINBy
	FactoryUserPIN pkcs11.UserPIN
	// ForcesChange says that a user PIN that the SO has set opens nothing before its
	// holder has changed it, and that the token shows so (CKF_USER_PIN_TO_BE_CHANGED).
	ForcesChange bool
	// SOWritesKeys says that keys and certificates are written by the security
	// officer, not by the user (ykcs11).
	SOWritesKeys bool
	// KeyID is the only CKA_ID that the model makes a signing key under, CAKeyIDs those
	// that CA certificates can have, in the order of their use; empty for any.
	KeyID    pkcs11.KeyID
	CAKeyIDs []pkcs11.KeyID
	// OwnLabels are patterns (as of path.Match) of the CKA_LABEL of objects that the
	// model itself shows; they are never ours.
	OwnLabels []string
	// Attest checks the statement that the token's maker gives about a key, which is
	// among the model's own objects, and puts it into words; nil when there is none.
	Attest func(own []pkcs11.Object, spki []byte, serial pkcs11.TokenSerial) (string, error)
}

// IdentityBy is what tells tokens of one model apart.
type IdentityBy string

// Identities.
const (
	BySerial IdentityBy = "serial" // also ""
	// ByReader: their serials are all the same; the reader and our label name them.
	ByReader IdentityBy = "reader"
	// BySingle: nothing does; one token at a time may be in the module.
	BySingle IdentityBy = "single"
)

// UserPINBy is how a user PIN is set.
type UserPINBy string

// Ways to set a user PIN.
const (
	// UserPINInit: the SO sets it by C_InitPIN; also "".
	UserPINInit UserPINBy = "init"
	// UserPINChange: the user changes the factory's by C_SetPIN.
	UserPINChange UserPINBy = "change"
)

// bySlot reports whether a serial does not tell the model's tokens apart.
func (p TokenProfile) bySlot() bool { return p.Identity == ByReader || p.Identity == BySingle }

// Identify names the token in a slot in the way of its model.
func (p TokenProfile) Identify(s pkcs11.Slot) pkcs11.Identity {
	id := s.Identity()
	if p.bySlot() {
		id.SlotDescription = s.Description
	}
	return id
}

// chooseKeyID gives the CKA_ID of a new key: eight random bytes where the model
// leaves the choice to us, which unlike a constant cannot meet the id of another key.
func (p TokenProfile) chooseKeyID() (pkcs11.KeyID, error) {
	if len(p.KeyID) > 0 {
		return slices.Clone(p.KeyID), nil
	}
	id := make(pkcs11.KeyID, 8)
	_, err := rand.Read(id)
	return id, err
}

// caKeyID is the CKA_ID of the n-th CA certificate (from 0): one of those that the
// model has room for, else one made from its key.
func (p TokenProfile) caKeyID(n int, c *x509.Certificate) (pkcs11.KeyID, error) {
	switch {
	case len(p.CAKeyIDs) == 0:
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		return sum[:8], nil
	case n >= len(p.CAKeyIDs):
		return nil, fmt.Errorf("%w: token profile %s has room for %d CA certificates", ErrProfileMisfit, p.Name, len(p.CAKeyIDs))
	}
	return p.CAKeyIDs[n], nil
}

// writer is who makes keys and writes certificates.
func (p TokenProfile) writer() login {
	if p.SOWritesKeys {
		return loginSO
	}
	return loginUser
}

// ours leaves out the objects that the model itself shows.
func (p TokenProfile) ours(objects []pkcs11.Object) []pkcs11.Object {
	return slices.DeleteFunc(slices.Clone(objects), p.own)
}

// own reports whether an object is the model's. A model that shows objects of its own
// shows its containers as data objects, too; none is ever ours.
func (p TokenProfile) own(o pkcs11.Object) bool {
	if o.Class == pkcs11.ClassData && len(p.OwnLabels) > 0 {
		return true
	}
	return slices.ContainsFunc(p.OwnLabels, func(pattern string) bool {
		match, err := path.Match(pattern, o.Label)
		return err == nil && match
	})
}
