package canary

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf16"
)

// Form is one way in which a secret can stand somewhere.
type Form struct {
	Name  string
	Bytes []byte
}

// shortestBCD is below how many digits packed digits would be found by chance: four
// bytes stand somewhere in some thousand megabytes, five hardly ever.
const shortestBCD = 10

// Forms are the ways in which a secret of printable ASCII is looked for: as it is, in
// UTF-16, hexadecimal, base64 with both alphabets and at each of its three places, and,
// of digits alone, packed as BCD with either digit first.
func Forms(secret string) []Form {
	out := []Form{{"plain", []byte(secret)}}
	var little, big []byte
	for _, u := range utf16.Encode([]rune(secret)) {
		little, big = append(little, byte(u&0xff), byte(u>>8)), append(big, byte(u>>8), byte(u&0xff))
	}
	digits := hex.EncodeToString([]byte(secret))
	out = append(out, Form{"UTF-16LE", little}, Form{"UTF-16BE", big},
		Form{"hexadecimal", []byte(digits)}, Form{"hexadecimal, capitals", []byte(strings.ToUpper(digits))})
	for _, alphabet := range []struct {
		name string
		*base64.Encoding
	}{{"base64", base64.StdEncoding}, {"base64url", base64.URLEncoding}} {
		for lead := range 3 {
			// Of a text that holds the secret at this place, what the secret alone decides.
			encoded := alphabet.EncodeToString(append(make([]byte, lead), secret...))
			out = append(out, Form{alphabet.name + " " + string(rune('0'+lead)), []byte(encoded)[(lead*8+5)/6 : (lead+len(secret))*8/6]})
		}
	}
	if strings.Trim(secret, "0123456789") == "" && len(secret) >= shortestBCD {
		out = append(out, Form{"BCD", packed(secret, 0)}, Form{"BCD, low digit first", packed(secret, 1)})
	}
	return out
}

// packed is two digits a byte; an odd last one is left out.
func packed(digits string, low int) (out []byte) {
	for i := 0; i+1 < len(digits); i += 2 {
		high, other := digits[i+low]-'0', digits[i+1-low]-'0'
		out = append(out, high<<4|other)
	}
	return out
}
