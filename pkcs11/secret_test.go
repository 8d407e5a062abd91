package pkcs11_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

const pin = "hunter2-8642"

// leaks tells whether text holds the PIN, as it is or in hexadecimal.
func leaks(text string) bool {
	lower := strings.ToLower(text)
	return strings.Contains(lower, pin) || strings.Contains(lower, fmt.Sprintf("%x", pin)) ||
		strings.Contains(lower, fmt.Sprintf("% x", pin)) || strings.Contains(text, fmt.Sprint([]byte(pin)))
}

// holders are PINs in every place that one may be printed from.
func holders() map[string]any {
	so, user := pkcs11.NewSOPIN(pin), pkcs11.NewUserPIN(pin)
	type exported struct {
		SO   pkcs11.SOPIN
		User pkcs11.UserPIN
	}
	type unexported struct {
		so   pkcs11.SOPIN
		user pkcs11.UserPIN
	}
	type embedded struct{ pkcs11.UserPIN }
	return map[string]any{
		"SO PIN":           so,
		"user PIN":         user,
		"pointer":          &so,
		"slice":            []pkcs11.UserPIN{user},
		"map":              map[string]pkcs11.SOPIN{"so": so},
		"struct":           exported{so, user},
		"pointer to one":   &exported{so, user},
		"unexported":       unexported{so, user},
		"pointer to one's": &unexported{so, user},
		"embedded":         embedded{user},
		"any":              []any{so, user},
		"error":            errors.Join(fmt.Errorf("with %v and %+v", so, user)),
	}
}

func TestPINsNeverPrint(t *testing.T) {
	for name, v := range holders() {
		for _, verb := range strings.Split("v +v #v s q x X d o b c U e g t p T", " ") {
			if out := fmt.Sprintf("%"+verb, v); leaks(out) {
				t.Errorf("%s under %%%s prints %s", name, verb, out)
			}
		}
		if out := fmt.Sprint(v) + fmt.Sprintln(v); leaks(out) {
			t.Errorf("%s prints %s", name, out)
		}
	}
	for _, v := range []any{pkcs11.NewSOPIN(pin), pkcs11.NewUserPIN(pin)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if out := fmt.Sprintf(verb, v); out != "[redacted]" {
				t.Errorf("%s gives %s", verb, out)
			}
		}
	}
}

func TestPINsNeverEncode(t *testing.T) {
	for name, v := range holders() {
		out, err := json.Marshal(v)
		if err == nil && leaks(string(out)) {
			t.Errorf("%s in JSON is %s", name, out)
		}
		var buf bytes.Buffer
		if err := gob.NewEncoder(&buf).Encode(v); err == nil && leaks(buf.String()) {
			t.Errorf("%s in gob is %q", name, buf.String())
		}
	}
	keyed, err := json.Marshal(map[string]any{"pin": pkcs11.NewUserPIN(pin)})
	if err != nil || string(keyed) != `{"pin":"[redacted]"}` {
		t.Errorf("JSON is %s, %v", keyed, err)
	}
	text, err := pkcs11.NewSOPIN(pin).MarshalText()
	if err != nil || string(text) != "[redacted]" {
		t.Errorf("text is %s, %v", text, err)
	}
}

func TestPINsNeverLog(t *testing.T) {
	for name, v := range holders() {
		var text, js bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&js, nil)} {
			slog.New(h).With("with", v).WithGroup("group").Info("message", "value", v, slog.Any("any", v))
		}
		if leaks(text.String()) || leaks(js.String()) {
			t.Errorf("%s is logged as %s and %s", name, text.String(), js.String())
		}
	}
}

func TestPINsReveal(t *testing.T) {
	so, user := pkcs11.NewSOPIN(pin), pkcs11.NewUserPIN(pin)
	if so.Reveal() != pin || user.Reveal() != pin || so.Len() != len(pin) || so.IsZero() || user.IsZero() {
		t.Error("a PIN does not give back its characters")
	}
	var none pkcs11.UserPIN
	if !none.IsZero() || none.Reveal() != "" || none.Len() != 0 || fmt.Sprint(none) != "[redacted]" {
		t.Error("the zero PIN is not empty")
	}
	if !pkcs11.NewSOPIN("").IsZero() {
		t.Error("a PIN of no characters is not zero")
	}
	if pkcs11.NewUserPIN("四桁").Len() != 6 {
		t.Error("the length is not in bytes")
	}
}
