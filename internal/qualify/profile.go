package qualify

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What the configuration takes and has by default (docs/configuration.md,
// tokenProfiles). A profile says only what departs from it.
const (
	identitySerial = "serial"
	identityReader = "reader"
	identitySingle = "single"

	userPINInit   = "init"
	userPINChange = "change"

	keyLoginUser = "user"
	keyLoginSO   = "so"

	defaultSOPIN  = 16
	shortestPIN   = 6
	longestPIN    = 64
	maxMaker      = 32 // bytes of CK_TOKEN_INFO.manufacturerID and model
	maxModel      = 16
	maxNameLength = 63
)

// Deadlines that are the least, because the next token may be slower than this one,
// and the most that the configuration takes.
const (
	leastKeyGeneration, mostKeyGeneration = 180 * time.Second, time.Hour
	leastInit, mostInit                   = 60 * time.Second, 10 * time.Minute
	leastCall, mostCall                   = 20 * time.Second, 10 * time.Minute
)

// How much longer than measured a call may take. RSA keys vary most, and a few of
// them say little about the slowest.
const (
	keyGenerationFactor = 6
	initFactor          = 5
	callFactor          = 10
)

// Profile is one entry of tokenProfiles.
type Profile struct {
	Name                                 string
	Manufacturer, Model                  string // patterns
	SOPINLength                          int
	FactorySOPINFile, FactoryUserPINFile string
	KeyGeneration, Init, Call            time.Duration
	Identity                             string
	KeepAsMade                           bool // initialise: false
	UserPIN                              string
	KeyLogin                             string
	KeyID                                string
	OmitAttributes                       []string
}

// YAML is the profile as a section of the configuration.
func (p Profile) YAML() string {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "    %s: %s\n", key, value) }
	unless := func(usual, key, value string) {
		if value != usual {
			line(key, quoted(value))
		}
	}
	fmt.Fprintf(&b, "tokenProfiles:\n  - name: %s\n", quoted(p.Name))
	line("match", fmt.Sprintf("{manufacturer: %s, model: %s}", quoted(p.Manufacturer), quoted(p.Model)))
	line("soPin", fmt.Sprintf("{length: %d, alphabet: digits}", p.SOPINLength))
	unless("", "factorySoPinFile", p.FactorySOPINFile)
	line("deadlines", fmt.Sprintf("{keyGeneration: %s, init: %s, call: %s}", seconds(p.KeyGeneration), seconds(p.Init), seconds(p.Call)))
	unless(identitySerial, "identity", p.Identity)
	if p.KeepAsMade {
		line("initialise", "false")
	}
	unless(userPINInit, "userPin", p.UserPIN)
	unless("", "factoryUserPinFile", p.FactoryUserPINFile)
	unless(keyLoginUser, "keyLogin", p.KeyLogin)
	unless("", "keyId", p.KeyID)
	if len(p.OmitAttributes) > 0 {
		line("omitAttributes", "["+strings.Join(p.OmitAttributes, ", ")+"]")
	}
	return b.String()
}

// quoted is a double-quoted YAML scalar (YAML 1.2.2, 7.3.1): quoted in any case, so
// that nothing a token shows of itself is taken for a number, a comment or a key.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d/time.Second)) }

// deadline is a multiple of what was measured, in whole seconds and within bounds.
func deadline(measured time.Duration, factor int, least, most time.Duration) time.Duration {
	d := (measured*time.Duration(factor) + time.Second - 1).Truncate(time.Second)
	return min(max(d, least), most)
}

// soPINLength is how long new SO PINs are; false when no length that is safe fits.
func soPINLength(shortest, longest int) (int, bool) {
	n := max(defaultSOPIN, shortest)
	if longest > 0 {
		n = min(n, longest)
	}
	return n, n >= max(shortestPIN, shortest) && n <= longestPIN
}

// profileName makes a name of the configuration (a-z, 0-9 and -) from a model.
func profileName(model string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, model)
	name = strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '-' }), "-")
	if name == "" {
		return "token"
	}
	return name[:min(len(name), maxNameLength)]
}

// pattern matches a field of CK_TOKEN_INFO, of that many bytes, in all the forms in
// which the model showed it: exactly, or by what they begin with.
func pattern(limit int, forms ...string) string {
	common := forms[0]
	exact := true
	for _, f := range forms[1:] {
		if f != common {
			exact = false
			common = commonPrefix(common, f)
		}
	}
	begin := common
	if i := strings.IndexByte(begin, '*'); i >= 0 { // it would stand for any text
		begin, exact = begin[:i], false
	}
	for len(begin) > limit { // what is not UTF-8 grows when it is replaced
		_, size := utf8.DecodeLastRuneInString(begin)
		begin, exact = begin[:len(begin)-size], false
	}
	if trimmed := strings.TrimSpace(begin); trimmed != begin || begin == "" {
		exact = false
		if begin = strings.TrimRight(begin, " \t"); strings.TrimSpace(begin) != begin {
			begin = ""
		}
	}
	if exact {
		return begin
	}
	return begin + "*"
}

// commonPrefix is what both begin with, in whole characters.
func commonPrefix(a, b string) string {
	n := 0
	for i, r := range a {
		if !strings.HasPrefix(b[min(i, len(b)):], string(r)) {
			break
		}
		n = i + utf8.RuneLen(r)
	}
	return a[:n]
}
