package provision

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestGuessablePINs(t *testing.T) {
	rows := []struct {
		pin  string
		want bool
		why  string
	}{
		{"92750384", false, "nothing to object to"},
		{"90007528", true, "a digit three times running"},
		{"91237528", true, "three up"},
		{"98762028", true, "three down"},
		{"90019001", false, "twice running is allowed"},
		{"19850722", true, "YYYYMMDD"},
		{"22071985", true, "DDMMYYYY"},
		{"07221985", true, "MMDDYYYY"},
		{"58507229", true, "YYMMDD in the middle"},
		{"92207859", true, "DDMMYY in the middle"},
		{"99907528", true, "a digit three times at the start"},
		{"19859985", false, "no month 99"},
		{"90752aaa", true, "letters three times running"},
	}
	for _, row := range rows {
		if got := guessable(row.pin); got != row.want {
			t.Errorf("%s: %v, want %v (%s)", row.pin, got, row.want, row.why)
		}
	}
}

func TestDrawObeysThePolicy(t *testing.T) {
	p := PINPolicy{Length: 8, Alphabet: "0123456789", DenyGuessable: true}
	seen := map[string]bool{}
	const draws = 4000
	for range draws {
		pin, err := p.Draw(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if len(pin) != 8 || strings.Trim(pin, "0123456789") != "" || guessable(pin) {
			t.Fatalf("PIN %q is against the policy", pin)
		}
		seen[pin] = true
	}
	if len(seen) < draws-5 {
		t.Errorf("%d different PINs in %d draws", len(seen), draws)
	}
}

// TestDrawFavoursNoDigit counts digits in each place. Guessable PINs are let
// through here: leaving dates out makes some digits rarer, but every PIN that is
// left is as likely as any other.
func TestDrawFavoursNoDigit(t *testing.T) {
	p := PINPolicy{Length: 8, Alphabet: "0123456789"}
	const draws = 4000
	count := map[[2]int]int{}
	for range draws {
		pin, err := p.Draw(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for place, digit := range []byte(pin) {
			count[[2]int{place, int(digit - '0')}]++
		}
	}
	for place := range 8 {
		// Chi-square with 9 degrees of freedom: above 50 once in 10 million.
		sum := 0.0
		for digit := range 10 {
			d := float64(count[[2]int{place, digit}]) - draws/10
			sum += d * d / (draws / 10)
		}
		if sum > 50 {
			t.Errorf("place %d: chi-square %.1f over %d draws", place, sum, draws)
		}
	}
}

// TestDrawRejectsInsteadOfFolding: 250 to 255 would favour the first digits if they were folded.
func TestDrawRejectsInsteadOfFolding(t *testing.T) {
	p := PINPolicy{Length: 4, Alphabet: "0123456789"}
	pin, err := p.Draw(bytes.NewReader([]byte{250, 251, 255, 9, 18, 27, 249}))
	if err != nil || pin != "9879" {
		t.Errorf("got %q (%v), want 9879", pin, err)
	}
}

func TestDrawFailsClosed(t *testing.T) {
	rows := []struct {
		name   string
		policy PINPolicy
		random io.Reader
	}{
		{"random numbers run out", PINPolicy{Length: 8, Alphabet: "0123456789"}, bytes.NewReader([]byte{1, 2})},
		{"length 3", PINPolicy{Length: 3, Alphabet: "0123456789"}, rand.Reader},
		{"no alphabet", PINPolicy{Length: 8}, rand.Reader},
		{"a character twice", PINPolicy{Length: 8, Alphabet: "01234567899"}, rand.Reader},
		{"a blank", PINPolicy{Length: 8, Alphabet: "012345678 "}, rand.Reader},
		{"always the same", PINPolicy{Length: 8, Alphabet: "0123456789", DenyGuessable: true}, zeros{}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if pin, err := row.policy.Draw(row.random); err == nil {
				t.Errorf("drew %q", pin)
			} else if row.name == "random numbers run out" && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
				t.Errorf("got %v", err)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
