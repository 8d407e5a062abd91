package pkcs11

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// SOPIN is the PIN of the security officer (CKU_SO). It prints as [redacted]
// under every fmt verb, in JSON, in text encodings and in slog; only Reveal
// gives the characters. It cannot be compared with ==.
type SOPIN struct{ secret }

// UserPIN is the PIN of the token's holder (CKU_USER). It prints as [redacted]
// like SOPIN, and is a type of its own so that the two can never be exchanged.
type UserPIN struct{ secret }

// NewSOPIN wraps the characters of an SO PIN.
func NewSOPIN(pin string) SOPIN { return SOPIN{secret{value: &pin}} }

// NewUserPIN wraps the characters of a user PIN.
func NewUserPIN(pin string) UserPIN { return UserPIN{secret{value: &pin}} }

// secret is unexported so that no caller can take it out by a conversion.
type secret struct {
	_ [0]func() // equal pointers are not what == would be asked for
	// value is behind a pointer because fmt prints the fields of a struct that
	// holds a PIN in an unexported field without asking our methods; of a pointer
	// within it prints the address.
	value *string
}

// Reveal returns the characters. Call it only where they leave for the token,
// for the sealed journal or for an envelope.
func (s secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no PIN at all, which is never a valid one.
func (s secret) IsZero() bool { return s.Len() == 0 }

// Len is the length in bytes, the unit of ulMinPinLen and ulMaxPinLen.
func (s secret) Len() int { return len(s.Reveal()) }

// String implements fmt.Stringer.
func (s secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s secret) GoString() string { return redacted }

// Format implements fmt.Formatter, so that no verb (%x, %q, %d, %+v …) reaches the field.
func (s secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON implements json.Marshaler.
func (s secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText implements encoding.TextMarshaler.
func (s secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (s secret) LogValue() slog.Value { return slog.StringValue(redacted) }
