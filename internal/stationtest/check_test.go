package stationtest

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// TestSpellingsAreFound shows that the search above can find what it looks for.
func TestSpellingsAreFound(t *testing.T) {
	const pin = "92750384"
	for _, hay := range []string{
		"pin=" + pin, base64.StdEncoding.EncodeToString([]byte("the pin is " + pin + " here")),
		base64.StdEncoding.EncodeToString([]byte("pin " + pin + " here")), base64.StdEncoding.EncodeToString([]byte("pins " + pin + " here")),
		hex.EncodeToString([]byte(pin)), "9\x002\x007\x005\x000\x003\x008\x004\x00",
	} {
		found := false
		for _, text := range spellings(pin) {
			found = found || strings.Contains(hay, string(text))
		}
		if !found {
			t.Errorf("not found in %q", hay)
		}
	}
}
