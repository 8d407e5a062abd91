package qualify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

func TestYAML(t *testing.T) {
	usual := Profile{
		Name: "card-3", Manufacturer: "Sample Maker", Model: "Card 3*", SOPINLength: 16,
		KeyGeneration: 180 * time.Second, Init: time.Minute, Call: 20 * time.Second,
		Identity: "serial", UserPIN: "init", KeyLogin: "user",
	}
	const head = `tokenProfiles:
  - name: "card-3"
    match: {manufacturer: "Sample Maker", model: "Card 3*"}
    soPin: {length: 16, alphabet: digits}
    deadlines: {keyGeneration: 180s, init: 60s, call: 20s}
`
	if got := usual.YAML(); got != head {
		t.Errorf("a profile that is usual:\n%s", got)
	}
	odd := usual
	odd.FactorySOPINFile, odd.FactoryUserPINFile = "/etc/so.pin", "/etc/user.pin"
	odd.Identity, odd.KeepAsMade, odd.UserPIN, odd.KeyLogin, odd.KeyID = "single", true, "change", "so", "02"
	odd.OmitAttributes = []string{"CKA_LABEL", "CKA_EXTRACTABLE"}
	for _, line := range []string{
		`factorySoPinFile: "/etc/so.pin"`, `identity: "single"`, `initialise: false`, `userPin: "change"`, `factoryUserPinFile: "/etc/user.pin"`,
		`keyLogin: "so"`, `keyId: "02"`, `omitAttributes: [CKA_LABEL, CKA_EXTRACTABLE]`,
	} {
		if !strings.Contains(odd.YAML(), "\n    "+line+"\n") {
			t.Errorf("no line %q in\n%s", line, odd.YAML())
		}
	}
}

func TestQuoted(t *testing.T) {
	for in, want := range map[string]string{
		`plain`:      `"plain"`,
		`a "b" \c`:   `"a \"b\" \\c"`,
		"a\nb: # c":  `"a\u000Ab: # c"`,
		"示例\x1b":     `"示例\u001B"`,
		"\U000E0001": `"\U000E0001"`,
		"a\xff":      "\"a\uFFFD\"",
	} {
		if got := quoted(in); got != want {
			t.Errorf("%q is quoted %s, want %s", in, got, want)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, row := range []struct {
		forms []string
		want  string
	}{
		{[]string{"Card 3"}, "Card 3"},
		{[]string{"Card 3", "Card 3"}, "Card 3"},
		{[]string{"Card 3", "Card 4"}, "Card*"},
		{[]string{"Card", "Card 4"}, "Card*"},
		{[]string{"示例一", "示例二"}, "示例*"},
		{[]string{""}, "*"},
		{[]string{"", "Card"}, "*"},
		{[]string{"Card*3"}, "Card*"},
		{[]string{" Card"}, "*"},
		{[]string{"12345678901234567"}, "1234567890123456*"},
	} {
		if got := pattern(16, row.forms...); got != row.want {
			t.Errorf("pattern of %q is %q, want %q", row.forms, got, row.want)
		}
	}
}

func TestProfileName(t *testing.T) {
	for model, want := range map[string]string{
		"SoftHSM v2": "softhsm-v2", "ePass 2003 (FIPS)": "epass-2003-fips", "示例": "token", "": "token", "-x-": "x",
	} {
		if got := profileName(model); got != want {
			t.Errorf("%q is named %q, want %q", model, got, want)
		}
	}
}

func TestSOPINLength(t *testing.T) {
	for _, row := range []struct {
		low, high, want int
		ok              bool
	}{
		{4, 255, 16, true}, {4, 8, 8, true}, {20, 64, 20, true}, {16, 16, 16, true}, {0, 0, 16, true},
		{4, 5, 5, false}, {65, 255, 65, false}, {8, 7, 7, false},
	} {
		if n, ok := soPINLength(row.low, row.high); n != row.want && row.ok || ok != row.ok {
			t.Errorf("%d to %d: %d, %t", row.low, row.high, n, ok)
		}
	}
}

func TestDeadline(t *testing.T) {
	for measured, want := range map[time.Duration]time.Duration{
		time.Second: 20 * time.Second, 3*time.Second + 1: 31 * time.Second, time.Hour: 10 * time.Minute,
	} {
		if got := deadline(measured, callFactor, leastCall, mostCall); got != want {
			t.Errorf("%s measured gives %s, want %s", measured, got, want)
		}
	}
}

// TestMinimalOmission: a token that refuses some attributes is asked as often as needed.
func TestMinimalOmission(t *testing.T) {
	names := []string{"A", "B", "C", "D"}
	for _, row := range []struct {
		name         string
		refuses      []string // must be left out
		needs        []string // must not
		first        []string
		want         []string
		most         int // attempts
		wantsRefusal bool
	}{
		{name: "nothing", most: 1},
		{name: "one", refuses: []string{"C"}, want: []string{"C"}, most: 4},
		{name: "two", refuses: []string{"B", "D"}, want: []string{"B", "D"}, most: 11},
		{name: "three", refuses: []string{"A", "B", "D"}, want: []string{"A", "B", "D"}, most: 17},
		{name: "known before", refuses: []string{"B", "D"}, first: []string{"B", "D"}, want: []string{"B", "D"}, most: 2},
		{name: "never", refuses: []string{"A"}, needs: []string{"A"}, most: 12, wantsRefusal: true},
	} {
		attempts := 0
		good := func(omit []string) bool {
			return !slices.ContainsFunc(row.refuses, func(n string) bool { return !slices.Contains(omit, n) }) &&
				!slices.ContainsFunc(row.needs, func(n string) bool { return slices.Contains(omit, n) })
		}
		last := false
		got, err := minimalOmission(row.first, names, func(omit []string) error {
			attempts++
			if last = good(omit); !last {
				return pkcs11.ErrTemplateRefused
			}
			return nil
		})
		if !slices.Equal(got, row.want) || (err != nil) != row.wantsRefusal || refused(err) != row.wantsRefusal || attempts > row.most {
			t.Errorf("%s: omits %v, %v, after %d attempts", row.name, got, err, attempts)
		}
		if !row.wantsRefusal && !last {
			t.Errorf("%s: the last attempt, whose key is used, was refused", row.name)
		}
	}
	_, err := minimalOmission(nil, names, func(omit []string) error {
		if len(omit) == 0 {
			return pkcs11.ErrTemplateRefused
		}
		return pkcs11.ErrModuleCrashed
	})
	if err != pkcs11.ErrModuleCrashed {
		t.Errorf("a crash while trying: %v", err)
	}
}

func TestClaims(t *testing.T) {
	rsa, err := pkcs11.AlgorithmByName("rsa3072")
	if err != nil {
		t.Fatal(err)
	}
	generate := pkcs11.MechanismInfo{Mechanism: rsa.Generate, MinKeySize: 1024, MaxKeySize: 4096, Flags: pkcs11.FlagGenerateKeyPair}
	sign := pkcs11.MechanismInfo{Mechanism: rsa.Sign, MinKeySize: 1024, MaxKeySize: 4096, Flags: pkcs11.FlagSign}
	small, inBytes, noFlag := generate, generate, sign
	small.MaxKeySize = 2048
	inBytes.MinKeySize, inBytes.MaxKeySize = 128, 512
	noFlag.Flags = 0
	for name, row := range map[string]struct {
		list []pkcs11.MechanismInfo
		want bool
	}{
		"both": {[]pkcs11.MechanismInfo{generate, sign}, true}, "in bytes": {[]pkcs11.MechanismInfo{inBytes, sign}, true},
		"too small": {[]pkcs11.MechanismInfo{small, sign}, false}, "not for signing": {[]pkcs11.MechanismInfo{generate, noFlag}, false},
		"cannot generate": {[]pkcs11.MechanismInfo{sign}, false}, "nothing": {nil, false},
	} {
		if got := claims(row.list, rsa); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
