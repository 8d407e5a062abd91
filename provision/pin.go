package provision

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// PINRule is a kind of PINs that are not drawn, because they are what people guess first.
type PINRule string

// Rules.
const (
	DenyRepeats   PINRule = "repeats"   // a character three times running, or one block over and over
	DenySequences PINRule = "sequences" // three characters running up or down
	DenyDates     PINRule = "dates"     // a day, with its year in two digits or four
	DenyOrder     PINRule = "order"     // four characters running of the order's own numbers
)

// PINRules are all rules.
func PINRules() []PINRule { return []PINRule{DenyRepeats, DenySequences, DenyDates, DenyOrder} }

// PINPolicy says how PINs are chosen.
type PINPolicy struct {
	// Length in characters; alphabets are ASCII, so also in bytes.
	Length int
	// Alphabet holds the characters, each once, all equally likely.
	Alphabet string
	// Deny lists the PINs that are thrown away.
	Deny []PINRule
}

// maxPINDraws bounds the rejection of guessable PINs; a policy that needs more is
// one that hardly any PIN satisfies.
const maxPINDraws = 20000

// Draw chooses a PIN, each one that the policy allows equally likely. random is
// crypto/rand.Reader outside tests; own are the order's numbers, see DenyOrder.
func (p PINPolicy) Draw(random io.Reader, own ...string) (string, error) {
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
		if !p.denies(string(pin), own) {
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
	for _, rule := range p.Deny {
		if !slices.Contains(PINRules(), rule) {
			return fmt.Errorf("PIN rule %q is unknown", string(rule))
		}
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

// denies reports whether a rule throws the PIN away.
func (p PINPolicy) denies(pin string, own []string) bool {
	return slices.ContainsFunc(p.Deny, func(rule PINRule) bool {
		switch rule {
		case DenyRepeats:
			return runs(pin, 0) || isRepeated(pin)
		case DenySequences:
			return runs(pin, 1) || runs(pin, -1)
		case DenyDates:
			return holdsDate(pin)
		case DenyOrder:
			return holdsPartOf(pin, own)
		}
		return true
	})
}

// runs reports three characters running, each by step above the one before.
func runs(pin string, step int) bool {
	for i := 0; i+2 < len(pin); i++ {
		if int(pin[i+1])-int(pin[i]) == step && int(pin[i+2])-int(pin[i+1]) == step {
			return true
		}
	}
	return false
}

// isRepeated reports a PIN that is one block over and over, such as 12121212 or 90019001.
func isRepeated(pin string) bool {
	for n := 1; n <= len(pin)/2; n++ {
		if len(pin)%n == 0 && strings.Repeat(pin[:n], len(pin)/n) == pin {
			return true
		}
	}
	return false
}

// ownPart is how many characters of a number in a row make a PIN a part of it.
const ownPart = 4

// holdsPartOf reports whether a PIN shares characters in a row with a number, whatever
// stands between them there and however they are written.
func holdsPartOf(pin string, own []string) bool {
	pin = strings.ToLower(pin)
	for _, number := range own {
		plain := strings.Map(func(c rune) rune {
			if c < '0' || c > '9' && c < 'a' || c > 'z' {
				return -1
			}
			return c
		}, strings.ToLower(number))
		for i := 0; i+ownPart <= len(pin); i++ {
			if strings.Contains(plain, pin[i:i+ownPart]) {
				return true
			}
		}
	}
	return false
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
