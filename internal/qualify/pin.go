package qualify

import (
	"crypto/rand"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// userPINLength is the length of user PINs by default (products[].userPin.length).
const userPINLength = 8

// drawDigits draws a PIN of digits, which every token takes, each equally likely.
func drawDigits(n int) string {
	const limit = 250 // the largest multiple of ten that a byte holds; above it digits would be unequal
	pin := make([]byte, 0, n)
	var b [1]byte
	for len(pin) < n {
		_, _ = rand.Read(b[:]) // never fails
		if b[0] < limit {
			pin = append(pin, '0'+b[0]%10)
		}
	}
	return string(pin)
}

// drawSO draws an SO PIN of the length that the profile will have.
func drawSO(info pkcs11.TokenInfo) pkcs11.SOPIN {
	n, _ := soPINLength(info.MinPINLen, info.MaxPINLen)
	return pkcs11.NewSOPIN(drawDigits(n))
}

// drawUser draws a user PIN of another value than one that there is.
func drawUser(info pkcs11.TokenInfo, than pkcs11.UserPIN) pkcs11.UserPIN {
	n := max(userPINLength, info.MinPINLen)
	if info.MaxPINLen > 0 {
		n = min(n, info.MaxPINLen)
	}
	for {
		if pin := drawDigits(n); pin != than.Reveal() {
			return pkcs11.NewUserPIN(pin)
		}
	}
}
