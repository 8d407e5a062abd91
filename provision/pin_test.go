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
	own := []string{"SAMPLE-20260-7718-003", "91350200MA0000001W", "+86 592-5307719"}
	rows := []struct {
		pin  string
		rule PINRule // "" for none
		why  string
	}{
		{"92750384", "", "nothing to object to"},
		{"90007528", DenyRepeats, "a digit three times running"},
		{"99907528", DenyRepeats, "a digit three times at the start"},
		{"90752aaa", DenyRepeats, "letters three times running"},
		{"90059975", "", "twice running is allowed"},
		{"96739673", DenyRepeats, "one half twice"},
		{"64646464", DenyRepeats, "one pair over and over"},
		{"91237528", DenySequences, "three up"},
		{"98762028", DenySequences, "three down"},
		{"9075xyz2", DenySequences, "letters up"},
		{"19850722", DenyDates, "YYYYMMDD"},
		{"22071985", DenyDates, "DDMMYYYY"},
		{"07221985", DenyDates, "MMDDYYYY"},
		{"58507229", DenyDates, "YYMMDD in the middle"},
		{"92207859", DenyDates, "DDMMYY in the middle"},
		{"19859985", "", "no month 99"},
		{"95771850", DenyOrder, "of the order's id, over its hyphens"},
		{"98350299", DenyOrder, "of the company's code"},
		{"79253074", DenyOrder, "of the phone, over blanks and hyphens"},
		{"57ma0084", DenyOrder, "of the company's code, in small letters"},
		{"52075369", "", "three in a row are not four"},
	}
	for _, row := range rows {
		for _, rule := range PINRules() {
			p := PINPolicy{Length: 8, Alphabet: "0123456789", Deny: []PINRule{rule}}
			if got := p.denies(row.pin, own); got != (rule == row.rule) {
				t.Errorf("%s by %s: denied is %v (%s)", row.pin, rule, got, row.why)
			}
		}
	}
}

func TestDrawObeysThePolicy(t *testing.T) {
	p, own := PINPolicy{Length: 8, Alphabet: "0123456789", Deny: PINRules()}, []string{"7483-9"}
	seen := map[string]bool{}
	const draws = 4000
	for range draws {
		pin, err := p.Draw(rand.Reader, own...)
		if err != nil {
			t.Fatal(err)
		}
		if len(pin) != 8 || strings.Trim(pin, "0123456789") != "" || p.denies(pin, own) {
			t.Fatalf("PIN %q is against the policy", pin)
		}
		seen[pin] = true
	}
	if len(seen) < draws-5 {
		t.Errorf("%d different PINs in %d draws", len(seen), draws)
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
		{"an unknown rule", PINPolicy{Length: 8, Alphabet: "0123456789", Deny: []PINRule{"birthdays"}}, rand.Reader},
		{"always the same", PINPolicy{Length: 8, Alphabet: "0123456789", Deny: PINRules()}, zeros{}},
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
