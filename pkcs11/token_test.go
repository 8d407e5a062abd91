package pkcs11_test

import (
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

func TestTokenLabelValidate(t *testing.T) {
	for label, good := range map[pkcs11.TokenLabel]bool{
		"a":         true,
		"USB 12345": true,
		" leading":  true,
		"統一社会信用代码":  true, // 24 bytes
		pkcs11.TokenLabel(strings.Repeat("x", 32)): true,
		"": false,
		pkcs11.TokenLabel(strings.Repeat("x", 33)): false,
		pkcs11.TokenLabel(strings.Repeat("码", 11)): false, // 33 bytes
		"trailing ":        false,
		"tab\tin it":       false,
		"NUL\x00":          false,
		"DEL\x7f":          false,
		"cut off \xe4\xb8": false,
		pkcs11.TokenLabel(strings.Repeat("x", 31) + " "): false,
	} {
		if err := label.Validate(); (err == nil) != good {
			t.Errorf("label %q: %v", label, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		slot pkcs11.Slot
		want pkcs11.Identity
		text string
	}{
		"by serial": {
			pkcs11.Slot{Description: "Reader 1", Token: &pkcs11.TokenInfo{Serial: "42"}},
			pkcs11.Identity{Serial: "42"}, "token 42",
		},
		"without serial": {
			pkcs11.Slot{Description: "Reader 1", Token: &pkcs11.TokenInfo{}},
			pkcs11.Identity{SlotDescription: "Reader 1"}, `token without serial in slot "Reader 1"`,
		},
		"empty slot": {
			pkcs11.Slot{Description: "Reader 1"},
			pkcs11.Identity{SlotDescription: "Reader 1"}, `token without serial in slot "Reader 1"`,
		},
	} {
		if got := c.slot.Identity(); got != c.want || got.String() != c.text {
			t.Errorf("%s: identity is %+v, %q", name, got, got)
		}
	}
}

func TestTokenFlags(t *testing.T) {
	blank := pkcs11.TokenInfo{Flags: 0xc00025} // an uninitialised SoftHSM token
	if blank.Initialized() || !blank.Flags.Has(pkcs11.FlagSOPINLocked|pkcs11.FlagSOPINToBeChanged) {
		t.Errorf("flags %#x are misread", blank.Flags)
	}
	if blank.Flags.Has(pkcs11.FlagSOPINLocked | pkcs11.FlagUserPINLocked) {
		t.Error("one flag of two passes for both")
	}
}
