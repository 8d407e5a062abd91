package pkcs11_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

func TestCodeError(t *testing.T) {
	for _, c := range []struct {
		code pkcs11.Code
		name string
		want pkcs11.Sentinel
	}{
		{0x005, "CKR_GENERAL_ERROR", pkcs11.ErrGeneral},
		{0x031, "CKR_DEVICE_MEMORY", pkcs11.ErrTokenFull},
		{0x032, "CKR_DEVICE_REMOVED", pkcs11.ErrTokenRemoved},
		{0x0A0, "CKR_PIN_INCORRECT", pkcs11.ErrPINIncorrect},
		{0x0A2, "CKR_PIN_LEN_RANGE", pkcs11.ErrPINInvalid},
		{0x0A3, "CKR_PIN_EXPIRED", pkcs11.ErrPINExpired},
		{0x0A4, "CKR_PIN_LOCKED", pkcs11.ErrPINLocked},
		{0x0B5, "CKR_SESSION_READ_ONLY", pkcs11.ErrWriteProtected},
		{0x0B6, "CKR_SESSION_EXISTS", pkcs11.ErrSessionExists},
		{0x0E1, "CKR_TOKEN_NOT_RECOGNIZED", pkcs11.ErrTokenUnknown},
		{0x100, "CKR_USER_ALREADY_LOGGED_IN", pkcs11.ErrGeneral},
		{0x101, "CKR_USER_NOT_LOGGED_IN", pkcs11.ErrNotLoggedIn},
		{0x80000042, "CKR_0x80000042", pkcs11.ErrGeneral}, // a vendor's own
	} {
		err := fmt.Errorf("a step: %w", pkcs11.CodeError("C_Op", c.code))
		if !errors.Is(err, c.want) {
			t.Errorf("%s is not %q", c.name, c.want)
		}
		e, ok := errors.AsType[*pkcs11.Error](err)
		if !ok || e.Code != c.code || e.Op != "C_Op" {
			t.Errorf("%s: error is %#v", c.name, err)
		}
		if c.code.String() != c.name || !strings.Contains(err.Error(), c.name) {
			t.Errorf("code is %s, error %q, want %s", c.code, err, c.name)
		}
	}
}

func TestErrorSentence(t *testing.T) {
	for want, e := range map[string]*pkcs11.Error{
		"C_Login: PIN incorrect (CKR_PIN_INCORRECT)": pkcs11.CodeError("C_Login", 0xA0),
		`open token: not found: token 42, slot "Reader 1"`: {
			Op: "open token", Kind: pkcs11.ErrNotFound, Detail: "token 42", Slot: "Reader 1",
		},
	} {
		if e.Error() != want {
			t.Errorf("error is %q, want %q", e, want)
		}
	}
}

func TestSentinelsDiffer(t *testing.T) {
	if errors.Is(pkcs11.CodeError("C_Login", 0xA4), pkcs11.ErrPINIncorrect) {
		t.Error("a locked PIN passes for an incorrect one")
	}
}
