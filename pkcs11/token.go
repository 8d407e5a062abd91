package pkcs11

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// TokenSerial is CK_TOKEN_INFO.serialNumber without its blank padding; "" when
// the token has none (yet). It is not a certificate's serial number.
type TokenSerial string

// TokenLabel is CK_TOKEN_INFO.label without its blank padding. It is not a CKA_LABEL.
type TokenLabel string

// MaxTokenLabel is the size of CK_TOKEN_INFO.label in bytes.
const MaxTokenLabel = 32

// Validate tells whether the label fits a token: valid UTF-8, no control characters, 1 to 32 bytes.
func (l TokenLabel) Validate() error {
	switch {
	case l == "":
		return fmt.Errorf("token label is empty")
	case len(l) > MaxTokenLabel:
		return fmt.Errorf("token label %q is %d bytes, at most %d fit", string(l), len(l), MaxTokenLabel)
	case !utf8.ValidString(string(l)):
		return fmt.Errorf("token label is not valid UTF-8")
	case strings.TrimRight(string(l), " ") != string(l):
		return fmt.Errorf("token label %q ends in a blank, which padding would swallow", string(l))
	case strings.ContainsFunc(string(l), func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf("token label %q has a control character", string(l))
	}
	return nil
}

// KeyID is a CKA_ID: the bytes that hold a private key, its public key and its certificate together.
type KeyID []byte

// String is the hexadecimal form, as pkcs11-tool writes it.
func (id KeyID) String() string { return hex.EncodeToString(id) }

// Equal compares two ids byte for byte.
func (id KeyID) Equal(other KeyID) bool { return bytes.Equal(id, other) }

// TokenFlags is CK_TOKEN_INFO.flags (PKCS#11 v2.40, section 3.2).
type TokenFlags uint

// Token flags.
const (
	FlagWriteProtected              TokenFlags = 0x00000002
	FlagLoginRequired               TokenFlags = 0x00000004
	FlagUserPINInitialized          TokenFlags = 0x00000008
	FlagProtectedAuthenticationPath TokenFlags = 0x00000100
	FlagTokenInitialized            TokenFlags = 0x00000400
	FlagUserPINCountLow             TokenFlags = 0x00010000
	FlagUserPINFinalTry             TokenFlags = 0x00020000
	FlagUserPINLocked               TokenFlags = 0x00040000
	FlagUserPINToBeChanged          TokenFlags = 0x00080000
	FlagSOPINCountLow               TokenFlags = 0x00100000
	FlagSOPINFinalTry               TokenFlags = 0x00200000
	FlagSOPINLocked                 TokenFlags = 0x00400000
	FlagSOPINToBeChanged            TokenFlags = 0x00800000
)

// Has reports whether every flag of want is set.
func (f TokenFlags) Has(want TokenFlags) bool { return f&want == want }

// TokenInfo is what a token says of itself (CK_TOKEN_INFO), blanks trimmed.
type TokenInfo struct {
	Label           TokenLabel
	Manufacturer    string
	Model           string
	Serial          TokenSerial
	Flags           TokenFlags
	MinPINLen       int // bytes
	MaxPINLen       int // bytes
	HardwareVersion string
	FirmwareVersion string
}

// TakesPIN reports whether a PIN of n bytes is within the token's bounds, of which the
// upper one may be unknown (0).
func (i TokenInfo) TakesPIN(n int) bool {
	return n >= i.MinPINLen && (i.MaxPINLen == 0 || n <= i.MaxPINLen)
}

// Initialized reports CKF_TOKEN_INITIALIZED. Look at it first: the PIN flags of
// an uninitialised token mean nothing (SoftHSM sets SO_PIN_LOCKED there).
func (i TokenInfo) Initialized() bool { return i.Flags.Has(FlagTokenInitialized) }

// Slot is a place where a token may be, and the token in it.
type Slot struct {
	// Description is CK_SLOT_INFO.slotDescription, blanks trimmed: the reader's name on most modules.
	Description string
	// Token is nil when the slot is empty, or holds what cannot be read.
	Token *TokenInfo
	// Fault says why the token in the slot cannot be read: ErrTokenUnknown or
	// ErrDevice, mostly. It is nil when there is none or all is well.
	Fault *Error
}

// Identity names a token within its module: by serial, while it has none by the
// description of the slot that it is in, and by both where all tokens of a model
// show the same serial.
type Identity struct {
	Serial          TokenSerial
	SlotDescription string
}

// String is for people.
func (id Identity) String() string {
	switch {
	case id.Serial != "" && id.SlotDescription != "":
		return fmt.Sprintf("token %s in slot %q", id.Serial, id.SlotDescription)
	case id.Serial != "":
		return "token " + string(id.Serial)
	}
	return fmt.Sprintf("token without serial in slot %q", id.SlotDescription)
}

// Is reports whether the token in the slot is the one that id names.
func (s Slot) Is(id Identity) bool {
	return s.Token != nil && s.Token.Serial == id.Serial &&
		(id.SlotDescription == "" && id.Serial != "" || s.Description == id.SlotDescription)
}

// Identity names the token in the slot.
func (s Slot) Identity() Identity {
	if s.Token != nil && s.Token.Serial != "" {
		return Identity{Serial: s.Token.Serial}
	}
	return Identity{SlotDescription: s.Description}
}

// ModuleInfo is what a module says of itself (CK_INFO).
type ModuleInfo struct {
	Manufacturer    string
	Description     string
	LibraryVersion  string
	CryptokiVersion string
}

// ObjectClass is a CK_OBJECT_CLASS.
type ObjectClass uint

// Object classes.
const (
	ClassData        ObjectClass = 0x0 // CKO_DATA
	ClassCertificate ObjectClass = 0x1 // CKO_CERTIFICATE
	ClassPublicKey   ObjectClass = 0x2 // CKO_PUBLIC_KEY
	ClassPrivateKey  ObjectClass = 0x3 // CKO_PRIVATE_KEY
)

// Claim is a boolean attribute as the module claims it; modules leave some out.
type Claim string

// Claims.
const (
	ClaimAbsent Claim = ""
	ClaimYes    Claim = "yes"
	ClaimNo     Claim = "no"
)

// KeyClaims are the security attributes of a private key as the module claims
// them (PKCS#11 v2.40, section 4.9). They are claims, not proof.
type KeyClaims struct {
	Private          Claim // CKA_PRIVATE
	Sensitive        Claim // CKA_SENSITIVE
	Extractable      Claim // CKA_EXTRACTABLE
	AlwaysSensitive  Claim // CKA_ALWAYS_SENSITIVE
	NeverExtractable Claim // CKA_NEVER_EXTRACTABLE
	Local            Claim // CKA_LOCAL
	Sign             Claim // CKA_SIGN
}

// Object is one token object that the current login lets us see.
type Object struct {
	Class ObjectClass
	ID    KeyID
	Label string
	// PublicKey is the DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), for public key objects.
	PublicKey []byte
	// Certificate is the DER certificate (CKA_VALUE), for certificate objects.
	Certificate []byte
	// Claims is set for private key objects, and for the public half that GenerateKeyPair
	// returns, where they are those of the private half.
	Claims KeyClaims
}

// Query selects objects. The zero Query selects every token object in sight.
type Query struct {
	// Class narrows to one class when set.
	Class *ObjectClass
	// ID narrows to one CKA_ID when not empty.
	ID KeyID
	// Passing adds objects that are not kept on the token (CKA_TOKEN is false), such as
	// the attestations that ykcs11 has the token make. Destroy takes it to mean these alone:
	// what SoftHSM leaves of an object when it dies while it makes it is like that.
	Passing bool
	// Shallow reads of an object its class, ID and label alone, and of a certificate its value:
	// neither the claims of a private key nor what a public key is. A key that was made since
	// the login is as it was read then.
	Shallow bool
}

// KeyPairTemplate says what key pair to generate. Both halves are token objects;
// the private key is private, sensitive, not extractable and may sign.
type KeyPairTemplate struct {
	Algorithm Algorithm
	ID        KeyID
	// Label is the CKA_LABEL of both halves.
	Label string
	// Omit names attributes that this token model refuses in a template, by
	// their PKCS#11 names such as "CKA_EXTRACTABLE".
	Omit []string
}

// CertificateObject says how a certificate is stored (PKCS#11 v2.40, section 4.6.3).
type CertificateObject struct {
	// ID is the CKA_ID of the private key for a leaf; for a CA certificate, one of its own.
	ID    KeyID
	Label string
	// DER is the certificate; CKA_SUBJECT, CKA_ISSUER and CKA_SERIAL_NUMBER are taken from it.
	DER []byte
}

// MechanismInfo is what a token says of one mechanism (CK_MECHANISM_INFO, v2.40, 3.6).
type MechanismInfo struct {
	Mechanism Mechanism
	// MinKeySize and MaxKeySize are in bits or bytes, as the mechanism has it.
	MinKeySize, MaxKeySize uint
	Flags                  MechanismFlags
}

// MechanismFlags is CK_MECHANISM_INFO.flags.
type MechanismFlags uint

// Mechanism flags (v2.40, table 14).
const (
	FlagHardware        MechanismFlags = 0x00000001 // CKF_HW
	FlagSign            MechanismFlags = 0x00000800
	FlagGenerateKeyPair MechanismFlags = 0x00010000
)

// Has reports whether every flag of want is set.
func (f MechanismFlags) Has(want MechanismFlags) bool { return f&want == want }

// Module is one initialised instance of a PKCS#11 module.
//
// Every method may also fail with ErrModuleCrashed, ErrModuleHung, ErrClosed,
// ErrGeneral or ctx's error.
type Module interface {
	// Info returns C_GetInfo.
	Info(ctx context.Context) (ModuleInfo, error)
	// Slots lists all slots anew, with their tokens, in the module's order.
	Slots(ctx context.Context) ([]Slot, error)
	// Open finds the token that id names. ErrNotFound when it is not there,
	// ErrAmbiguous when two tokens show the same identity.
	Open(ctx context.Context, id Identity) (Token, error)
	// Close finalises the module. Tokens opened from it are unusable afterwards.
	Close() error
}

// Token is one token, found by its identity and found again by it before every
// call that writes. Its methods are for one goroutine at a time.
//
// Every method may fail with ErrTokenRemoved, ErrTokenReplaced, ErrAmbiguous,
// ErrDevice, ErrModuleCrashed, ErrModuleHung, ErrClosed, ErrGeneral or ctx's
// error; further errors are listed at each.
type Token interface {
	// Identity is the identity by which the token is held; Init gives it a new one.
	Identity() Identity
	// Info reads C_GetTokenInfo anew.
	Info(ctx context.Context) (TokenInfo, error)
	// Init is C_InitToken: it destroys all objects and the user PIN and sets the
	// label. On an uninitialised token so becomes the SO PIN; on an initialised
	// one it must be the present SO PIN (section 5.5). The token is then found
	// again by label and serial, and its new info is returned.
	// ErrPINIncorrect, ErrPINLocked, ErrPINLastTry, ErrPINInvalid, ErrUnsupported.
	Init(ctx context.Context, so SOPIN, label TokenLabel) (TokenInfo, error)
	// LoginSO logs in as security officer; LoginUser as user. The token's flags
	// are read first: with a final try or a lock showing, nothing is tried.
	// ErrPINIncorrect, ErrPINLocked, ErrPINLastTry, ErrPINPad.
	LoginSO(ctx context.Context, so SOPIN) error
	LoginUser(ctx context.Context, user UserPIN) error
	// Logout ends a login; without one it does nothing.
	Logout(ctx context.Context) error
	// Mechanisms is C_GetMechanismList with C_GetMechanismInfo of each.
	Mechanisms(ctx context.Context) ([]MechanismInfo, error)
	// InitUserPIN is C_InitPIN and needs LoginSO. ErrPINInvalid, ErrNotLoggedIn, ErrUnsupported.
	InitUserPIN(ctx context.Context, user UserPIN) error
	// SetSOPIN is C_SetPIN and needs LoginSO. ErrPINIncorrect, ErrPINInvalid, ErrNotLoggedIn.
	SetSOPIN(ctx context.Context, old, new SOPIN) error
	// SetUserPIN is C_SetPIN by the user and needs LoginUser. ErrPINIncorrect,
	// ErrPINInvalid, ErrNotLoggedIn.
	SetUserPIN(ctx context.Context, old, new UserPIN) error
	// Objects lists the token objects in sight that match. Private ones need LoginUser.
	Objects(ctx context.Context, q Query) ([]Object, error)
	// GenerateKeyPair makes a key pair on the token and returns its public half,
	// whose ID is what the module gave it, with what the module claims of the private half. Needs LoginUser, on some models LoginSO.
	// ErrTemplateRefused, ErrUnsupported, ErrTokenFull, ErrNotLoggedIn.
	GenerateKeyPair(ctx context.Context, t KeyPairTemplate) (Object, error)
	// Sign signs input with the private key of that ID by the mechanism and
	// returns C_Sign's bytes. ErrNotFound, ErrAmbiguous, ErrNotLoggedIn, ErrUnsupported.
	Sign(ctx context.Context, id KeyID, m Mechanism, input []byte) ([]byte, error)
	// WriteCertificate stores a certificate. ErrTokenFull, ErrTemplateRefused, ErrNotLoggedIn.
	WriteCertificate(ctx context.Context, c CertificateObject) error
	// Destroy removes the objects that match, at least an ID or class being
	// given, and returns how many there were. ErrNotLoggedIn.
	Destroy(ctx context.Context, q Query) (int, error)
	// Close logs out, closes the session and drops every handle.
	Close() error
}
