package provision

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// PINPolicy says how PINs are chosen.
type PINPolicy struct {
	// Length in characters; alphabets are ASCII, so also in bytes.
	Length int
	// Alphabet holds the characters, each once, all equally likely.
	Alphabet string
	// DenyGuessable refuses what people guess first: a character three times
	// running, three running up or down, and dates.
	DenyGuessable bool
}

// maxPINDraws bounds the rejection of guessable PINs; a policy that needs more is
// one that hardly any PIN satisfies.
const maxPINDraws = 1000

// Draw chooses a PIN, each one that the policy allows equally likely. random is
// crypto/rand.Reader outside tests.
func (p PINPolicy) Draw(random io.Reader) (string, error) {
	if err := p.Validate(); err != nil {
		return "", err
	}
	for range maxPINDraws {
		pin := make([]byte, p.Length)
		for i := range pin {
			c, err := drawByte(random, len(p.Alphabet))
			if err != nil {
				return "", err
			}
			pin[i] = p.Alphabet[c]
		}
		if !p.DenyGuessable || !guessable(string(pin)) {
			return string(pin), nil
		}
	}
	return "", fmt.Errorf("no acceptable PIN in %d draws: the policy allows hardly any", maxPINDraws)
}

// Validate tells whether PINs can be drawn at all.
func (p PINPolicy) Validate() error {
	switch {
	case p.Length < 4 || p.Length > 64:
		return fmt.Errorf("PIN length %d: use 4 to 64", p.Length)
	case len(p.Alphabet) < 10 || len(p.Alphabet) > 94:
		return fmt.Errorf("PIN alphabet of %d characters: use 10 to 94", len(p.Alphabet))
	}
	chars := []byte(p.Alphabet)
	slices.Sort(chars)
	if len(slices.Compact(chars)) != len(p.Alphabet) {
		return errors.New("PIN alphabet holds a character twice")
	}
	if chars[0] <= ' ' || slices.Max(chars) > '~' {
		return errors.New("PIN alphabet holds something else than printable ASCII")
	}
	return nil
}

// drawByte returns a number below n, all equally likely: values at or above the
// largest multiple of n that a byte holds are thrown away.
func drawByte(random io.Reader, n int) (int, error) {
	limit := 256 - 256%n
	var b [1]byte
	for {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 0, fmt.Errorf("random numbers: %w", err)
		}
		if int(b[0]) < limit {
			return int(b[0]) % n, nil
		}
	}
}

// guessable reports a character three times running, three running up or down, or a date.
func guessable(pin string) bool {
	for i := 0; i+2 < len(pin); i++ {
		d1, d2 := int(pin[i+1])-int(pin[i]), int(pin[i+2])-int(pin[i+1])
		if d1 == d2 && d1 >= -1 && d1 <= 1 {
			return true
		}
	}
	return holdsDate(pin)
}

// holdsDate looks for YYYYMMDD, DDMMYYYY and MMDDYYYY of 1900 to 2099, and for YYMMDD and DDMMYY.
func holdsDate(pin string) bool {
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil || s[0] == '+' || s[0] == '-' {
			return -1
		}
		return n
	}
	day := func(m, d string) bool {
		mm, dd := number(m), number(d)
		return mm >= 1 && mm <= 12 && dd >= 1 && dd <= 31
	}
	year := func(y string) bool { n := number(y); return n >= 1900 && n <= 2099 }
	for i := range pin {
		if s := pin[i:]; len(s) >= 8 {
			s = s[:8]
			if year(s[:4]) && day(s[4:6], s[6:]) || year(s[4:]) && (day(s[2:4], s[:2]) || day(s[:2], s[2:4])) {
				return true
			}
		}
		if s := pin[i:]; len(s) >= 6 {
			s = s[:6]
			if number(s) >= 0 && (day(s[2:4], s[4:]) || day(s[2:4], s[:2])) {
				return true
			}
		}
	}
	return false
}
