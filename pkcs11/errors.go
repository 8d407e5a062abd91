package pkcs11

import "fmt"

// Sentinel is a constant error, compared with errors.Is. Being a plain string it
// crosses the pipe from a module's process unchanged.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// What callers decide by. Return codes of a module unwrap to one of these.
const (
	ErrPINIncorrect    Sentinel = "PIN incorrect"
	ErrPINLocked       Sentinel = "PIN locked"
	ErrPINExpired      Sentinel = "PIN expired"
	ErrPINInvalid      Sentinel = "PIN not acceptable to the token (length or characters)"
	ErrPINLastTry      Sentinel = "login refused: it could spend the token's last PIN try"
	ErrPINPad          Sentinel = "token wants its PIN typed on a PIN pad"
	ErrTokenRemoved    Sentinel = "token removed"
	ErrTokenReplaced   Sentinel = "another token is in the place of the expected one"
	ErrTokenUnknown    Sentinel = "token not recognised"
	ErrTokenFull       Sentinel = "token memory full"
	ErrWriteProtected  Sentinel = "token is write-protected"
	ErrDevice          Sentinel = "device error"
	ErrNotFound        Sentinel = "not found"
	ErrAmbiguous       Sentinel = "ambiguous: more than one matches"
	ErrSessionExists   Sentinel = "token has open sessions"
	ErrNotLoggedIn     Sentinel = "not logged in"
	ErrTemplateRefused Sentinel = "template refused"
	ErrUnsupported     Sentinel = "not supported by the module"
	ErrModuleUnusable  Sentinel = "not a usable PKCS#11 module"
	ErrModuleCrashed   Sentinel = "module process ended"
	ErrModuleHung      Sentinel = "module did not answer in time"
	ErrClosed          Sentinel = "used after Close"
	ErrGeneral         Sentinel = "module reported an error"
)

// Code is a CK_RV. Codes are listed in PKCS#11 v2.40, section 5.1.
type Code uint

// String gives the specification's name of the codes met in practice, else hexadecimal.
func (c Code) String() string {
	if k, ok := codes()[c]; ok {
		return k.name
	}
	return fmt.Sprintf("CKR_0x%X", uint(c))
}

type codeMeaning struct {
	name string
	is   Sentinel
}

func codes() map[Code]codeMeaning {
	return map[Code]codeMeaning{
		0x002: {"CKR_HOST_MEMORY", ErrGeneral},
		0x003: {"CKR_SLOT_ID_INVALID", ErrTokenRemoved},
		0x005: {"CKR_GENERAL_ERROR", ErrGeneral},
		0x006: {"CKR_FUNCTION_FAILED", ErrGeneral},
		0x007: {"CKR_ARGUMENTS_BAD", ErrGeneral},
		0x010: {"CKR_ATTRIBUTE_READ_ONLY", ErrTemplateRefused},
		0x011: {"CKR_ATTRIBUTE_SENSITIVE", ErrTemplateRefused},
		0x012: {"CKR_ATTRIBUTE_TYPE_INVALID", ErrTemplateRefused},
		0x013: {"CKR_ATTRIBUTE_VALUE_INVALID", ErrTemplateRefused},
		0x020: {"CKR_DATA_INVALID", ErrGeneral},
		0x021: {"CKR_DATA_LEN_RANGE", ErrGeneral},
		0x030: {"CKR_DEVICE_ERROR", ErrDevice},
		0x031: {"CKR_DEVICE_MEMORY", ErrTokenFull},
		0x032: {"CKR_DEVICE_REMOVED", ErrTokenRemoved},
		0x050: {"CKR_FUNCTION_CANCELED", ErrGeneral},
		0x054: {"CKR_FUNCTION_NOT_SUPPORTED", ErrUnsupported},
		0x060: {"CKR_KEY_HANDLE_INVALID", ErrNotFound},
		0x062: {"CKR_KEY_SIZE_RANGE", ErrUnsupported},
		0x063: {"CKR_KEY_TYPE_INCONSISTENT", ErrUnsupported},
		0x068: {"CKR_KEY_FUNCTION_NOT_PERMITTED", ErrUnsupported},
		0x070: {"CKR_MECHANISM_INVALID", ErrUnsupported},
		0x071: {"CKR_MECHANISM_PARAM_INVALID", ErrUnsupported},
		0x082: {"CKR_OBJECT_HANDLE_INVALID", ErrNotFound},
		0x090: {"CKR_OPERATION_ACTIVE", ErrGeneral},
		0x0A0: {"CKR_PIN_INCORRECT", ErrPINIncorrect},
		0x0A1: {"CKR_PIN_INVALID", ErrPINInvalid},
		0x0A2: {"CKR_PIN_LEN_RANGE", ErrPINInvalid},
		0x0A3: {"CKR_PIN_EXPIRED", ErrPINExpired},
		0x0A4: {"CKR_PIN_LOCKED", ErrPINLocked},
		0x0B0: {"CKR_SESSION_CLOSED", ErrTokenRemoved},
		0x0B1: {"CKR_SESSION_COUNT", ErrGeneral},
		0x0B3: {"CKR_SESSION_HANDLE_INVALID", ErrTokenRemoved},
		0x0B5: {"CKR_SESSION_READ_ONLY", ErrWriteProtected},
		0x0B6: {"CKR_SESSION_EXISTS", ErrSessionExists},
		0x0B7: {"CKR_SESSION_READ_ONLY_EXISTS", ErrGeneral},
		0x0B8: {"CKR_SESSION_READ_WRITE_SO_EXISTS", ErrGeneral},
		0x0D0: {"CKR_TEMPLATE_INCOMPLETE", ErrTemplateRefused},
		0x0D1: {"CKR_TEMPLATE_INCONSISTENT", ErrTemplateRefused},
		0x0E0: {"CKR_TOKEN_NOT_PRESENT", ErrTokenRemoved},
		0x0E1: {"CKR_TOKEN_NOT_RECOGNIZED", ErrTokenUnknown},
		0x0E2: {"CKR_TOKEN_WRITE_PROTECTED", ErrWriteProtected},
		0x100: {"CKR_USER_ALREADY_LOGGED_IN", ErrGeneral},
		0x101: {"CKR_USER_NOT_LOGGED_IN", ErrNotLoggedIn},
		0x102: {"CKR_USER_PIN_NOT_INITIALIZED", ErrPINInvalid},
		0x104: {"CKR_USER_ANOTHER_ALREADY_LOGGED_IN", ErrGeneral},
		0x140: {"CKR_DOMAIN_PARAMS_INVALID", ErrUnsupported},
		0x150: {"CKR_BUFFER_TOO_SMALL", ErrGeneral},
		0x190: {"CKR_CRYPTOKI_NOT_INITIALIZED", ErrGeneral},
		0x191: {"CKR_CRYPTOKI_ALREADY_INITIALIZED", ErrGeneral},
	}
}

// Error is a failed operation on a module or token.
type Error struct {
	// Op is the Cryptoki function, such as "C_GenerateKeyPair", or the operation of ours.
	Op string
	// Slot is the slot's description, for people; never an id.
	Slot string
	// Code is the module's return value, or 0 when the error is not the module's.
	Code Code
	// Kind is the sentinel that errors.Is finds.
	Kind Sentinel
	// Detail adds what a person needs; it never holds a secret.
	Detail string
}

// CodeError makes the Error for a module's return value.
func CodeError(op string, code Code) *Error {
	kind := ErrGeneral
	if k, ok := codes()[code]; ok {
		kind = k.is
	}
	return &Error{Op: op, Code: code, Kind: kind}
}

// Error implements error.
func (e *Error) Error() string {
	s := e.Op + ": " + string(e.Kind)
	if e.Code != 0 {
		s += " (" + e.Code.String() + ")"
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Slot != "" {
		s += ", slot " + fmt.Sprintf("%q", e.Slot)
	}
	return s
}

// Unwrap gives the sentinel.
func (e *Error) Unwrap() error { return e.Kind }
