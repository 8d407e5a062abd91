package pkcs11test

import (
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Rules that read better than their text. Each gives a line for Shim.Rules.

// Nth narrows a rule to the n-th call of a function, "*" for any.
func Nth(function string, n int, action string) string {
	return fmt.Sprintf("%s#%d %s", function, n, action)
}

// OnToken narrows a rule to the calls on one token.
func OnToken(function string, serial pkcs11.TokenSerial, action string) string {
	return fmt.Sprintf("%s slot=%s %s", function, ruleSerial(serial), action)
}

// ReturnCode is the action of a function that fails before it does anything.
func ReturnCode(code pkcs11.Code) string { return fmt.Sprintf("return 0x%x", uint(code)) }

// ThenCode is the action of a function that does its work and then reports an error.
func ThenCode(code pkcs11.Code) string { return fmt.Sprintf("then 0x%x", uint(code)) }

// WaitFor is the action of a function that takes longer.
func WaitFor(d time.Duration) string { return fmt.Sprintf("wait %d", d.Milliseconds()) }

// Removed is a token that was pulled.
func Removed(serial pkcs11.TokenSerial) string {
	return fmt.Sprintf("token %s removed", ruleSerial(serial))
}

// SlotID is a token whose slot has another id.
func SlotID(serial pkcs11.TokenSerial, id uint) string {
	return fmt.Sprintf("token %s slot %d", ruleSerial(serial), id)
}

// PINLock locks either PIN of a token, "*" for every one, after so many wrong ones.
func PINLock(serial pkcs11.TokenSerial, tries int) string {
	return fmt.Sprintf("token %s pin-lock %d", ruleSerial(serial), tries)
}

// Swapped exchanges the slot ids of two tokens; open sessions stay with their tokens.
func Swapped(a, b pkcs11.TokenSerial) string {
	return fmt.Sprintf("swap %s %s", ruleSerial(a), ruleSerial(b))
}

// SwappedHard exchanges two tokens, and the module does not notice: open sessions act
// on the other one.
func SwappedHard(a, b pkcs11.TokenSerial) string {
	return fmt.Sprintf("swap-hard %s %s", ruleSerial(a), ruleSerial(b))
}

// Shuffled deals all slot ids anew before every n-th call or so.
func Shuffled(seed uint64, n int) string { return fmt.Sprintf("shuffle %d %d", seed, n) }

// ShuffledHard deals the tokens to the slots anew before every n-th call or so; open
// sessions stay with the slot and so act on other tokens.
func ShuffledHard(seed uint64, n int) string { return fmt.Sprintf("shuffle-hard %d %d", seed, n) }

// ruleSerial names a token in a rule, which one without a serial is in too.
func ruleSerial(serial pkcs11.TokenSerial) string {
	if serial == "" {
		return "-"
	}
	return string(serial)
}
