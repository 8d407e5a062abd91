package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoad(t *testing.T) {
	dir, text := station(t)
	file := filepath.Join(dir, "station.yaml")
	write(t, file, []byte(text), 0o644)
	s, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	want := &Station{
		Name: "demo-station", StateDir: filepath.Join(dir, "state"),
		Central: Central{
			URLs:  []string{"https://127.0.0.1:8443", "https://central.example.com/base"},
			Trust: filepath.Join(dir, "central-root.pem"), Certificate: filepath.Join(dir, "station.crt"), Key: filepath.Join(dir, "station.key"),
		},
		Identity:         Identity{Tier: TierFile},
		Recipients:       Recipients{UserPIN: []string{strings.Repeat("11", 32)}, SOPIN: []string{"aa" + strings.Repeat("22", 31), strings.Repeat("33", 32)}},
		CertificateTrust: filepath.Join(dir, "trust.pem"),
		Modules: []Module{
			{Name: "bay-01", Path: filepath.Join(dir, "module.so"), Env: map[string]string{"SOFTHSM2_CONF": "/etc/bay-01.conf"}, Tokens: 2, Trust: TrustRoot},
			{Name: "bay-02", Path: filepath.Join(dir, "module.so"), Tokens: 1, Trust: TrustRoot},
		},
		TokenProfiles: append([]TokenProfile{{
			Name: "sample-card", Match: Match{"Sample Maker", "Card 3*"}, SOPIN: PINPolicy{12, "hex"},
			FactorySOPINFile: filepath.Join(dir, "factory-so.pin"),
			Deadlines:        Deadlines{240 * time.Second, 60 * time.Second, 20 * time.Second}, // the last two are defaults
			OmitAttributes:   []string{"CKA_EXTRACTABLE"},
			Identity:         "serial", Initialise: true, UserPIN: "init", KeyLogin: "user",
		}}, BuiltinTokenProfiles()...),
		Products: []Product{{
			Code: "CERT272353", Key: Key{"rsa2048"},
			Certificate: Certificate{
				Subject:  []SubjectAttribute{{Type: "C", Value: "CN"}, {Type: "CN", Value: "{{.Company.Name}}", Optional: true}},
				KeyUsage: []string{"digitalSignature"}, ValidityTolerance: 0, ClockTolerance: 10 * time.Minute,
			},
			UserPIN: UserPIN{Length: 6, Alphabet: "digits", Deny: PINRules(), Delivery: "sealed"}, TokenLabel: "{{.UnitID}}",
		}},
		Mailer: defaultStation().Mailer, Console: defaultStation().Console, Packing: defaultStation().Packing, Labels: defaultStation().Labels, Journal: defaultStation().Journal,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}

func TestLoadErrors(t *testing.T) {
	dir, text := station(t)
	if _, err := Load(filepath.Join(dir, "missing.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	file := filepath.Join(dir, "station.yaml")
	write(t, file, []byte(strings.Replace(text, "station: demo", "station: DEMO", 1)), 0o644)
	if _, err := Load(file); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), file) {
		t.Errorf("invalid value: %v", err)
	}
	write(t, file, []byte(text+"\n#"+strings.Repeat("x", MaxFile)), 0o644)
	if _, err := Load(file); !errors.Is(err, ErrSyntax) {
		t.Errorf("too large: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	_, good := station(t)
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the sample", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, row := range []struct {
		name, text string
		line       int // 0: no place
		says       string
	}{
		{"empty", "", 0, "empty"},
		{"comments only", "# nothing\n", 0, "empty"},
		{"a list", "- a\n", 1, "keys"},
		{"plain text", "station\n", 1, "keys"},
		{"unknown key at the top", replace("stateDir:", "statedir:"), 2, `unknown key "statedir"`},
		{"unknown key below", replace("  trust: central", "  trusts: central"), 5, `unknown key "trusts"`},
		{"unknown key in a list", replace("tokens: 2", "token: 2"), 16, `unknown key "token"`},
		{"unknown key in a product", replace("keyUsage:", "keyUsages:"), 33, `unknown key "keyUsages"`},
		{"key in capitals", replace("station:", "Station:"), 1, `unknown key "Station"`},
		{"key twice", replace("stateDir:", "station: b\nstateDir:"), 2, "already defined"},
		{"key twice below", replace("tokens: 2", "tokens: 2\n    tokens: 3"), 17, "already defined"},
		{"variable twice", replace("{SOFTHSM2_CONF: /etc/bay-01.conf}", "{SOFTHSM2_CONF: /a, SOFTHSM2_CONF: /b}"), 15, "already defined"},
		{"second document", good + "---\nstation: b\n", 36, "second document"},
		{"empty second document", good + "---\n", 36, "second document"},
		{"text after the end", good + "...\ngarbage\n", 37, "unexpected"},
		{"not UTF-8", replace("demo", "d\xffmo"), 0, "UTF-8"},
		{"zero byte", replace("demo", "d\x00mo"), 0, "UTF-8"},
		{"tabs", replace("  urls", "\turls"), 4, "character"},
		{"unclosed list", replace("trust: central-root.pem", "trust: ["), 0, ""},
		{"number for text", replace("demo-station", "1"), 1, "text"},
		{"truth for text", replace("demo-station", "true"), 1, "text"},
		{"list for text", replace("demo-station", "[a]"), 1, "text"},
		{"nothing for text", replace(" demo-station", ""), 1, "no value"},
		{"null for a list", replace("[CKA_EXTRACTABLE]", "~"), 25, "no value"},
		{"null in a list", replace("[CKA_EXTRACTABLE]", "[null]"), 25, "no value"},
		{"text for a list", replace("[digitalSignature]", "digitalSignature"), 33, "list"},
		{"list for keys", replace("{algorithm: rsa2048}", "[rsa2048]"), 28, "keys"},
		{"text for a number", replace("tokens: 2", `tokens: "2"`), 16, "number"},
		{"fraction", replace("tokens: 2", "tokens: 2.5"), 16, "number"},
		{"hexadecimal", replace("tokens: 2", "tokens: 0x2"), 16, "number"},
		{"octal", replace("tokens: 2", "tokens: 02"), 16, "number"},
		{"huge number", replace("tokens: 2", "tokens: 99999999999999999999"), 16, "number"},
		{"text for truth", replace("optional: true", "optional: yes"), 32, "true or false"},
		{"number for a time", replace("validityTolerance: 0s", "validityTolerance: 0"), 34, "length of time"},
		{"time without a unit", replace("240s", `"240"`), 24, "length of time"},
		{"time too long", replace("240s", "99999999999h"), 24, "length of time"},
		{"number in the environment", replace("/etc/bay-01.conf", "1"), 15, "text"},
		{"anchor", replace("demo-station", "&a demo-station"), 1, "anchors"},
		{"alias", replace("central-root.pem", "&a central-root.pem") + "certificateTrust2: *a\n", 5, "anchors"},
		{"tag", replace("demo-station", "!!binary aGk="), 1, "tags"},
		{"merge", good + "<<: {station: b}\n", 36, "plain key"},
		{"number as key", good + "1: a\n", 36, "plain key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, err := Parse([]byte(row.text), "/")
			if !errors.Is(err, ErrSyntax) || s != nil {
				t.Fatalf("got %v, want ErrSyntax", err)
			}
			var place *SyntaxError
			if errors.As(err, &place); row.line != 0 && place.Line != row.line {
				t.Errorf("line %d, want %d: %v", place.Line, row.line, err)
			}
			if !strings.Contains(err.Error(), row.says) {
				t.Errorf("%q does not say %q", err, row.says)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	dir, good := station(t)
	want, err := Parse([]byte(good), dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"byte order mark": "\ufeff" + good,
		"Windows lines":   strings.ReplaceAll(good, "\n", "\r\n"),
		"document marks":  "---\n" + good + "...\n",
		"comments":        "# first\n" + strings.ReplaceAll(good, "\n", " # more\n") + "# last\n",
		"quoted keys":     strings.Replace(good, "station:", `"station":`, 1),
	} {
		got, err := Parse([]byte(text), dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestParseReportsEveryFaultOfShape(t *testing.T) {
	_, err := Parse([]byte("station: 1\nstateDir: 2\nfoo: 3\nmodules: {}\n"), "/")
	for _, line := range []string{"line 1,", "line 2,", "line 3,", "line 4,"} {
		if !strings.Contains(err.Error(), line) {
			t.Errorf("%s is missing in %v", line, err)
		}
	}
}

func TestProfilesAreTriedInOrder(t *testing.T) {
	s := parsed(t)
	for _, row := range []struct{ manufacturer, model, want string }{
		{"Sample Maker", "Card 3", "sample-card"},
		{"Sample Maker", "Card 3.1", "sample-card"},
		{"Sample Maker", "Card 2", ""},
		{"Sample", "Card 3", ""},
		{"SoftHSM project", "SoftHSM v2", "softhsm2"},
		{"SoftHSM project", "SoftHSM v3", ""},
	} {
		got, ok := s.TokenProfileFor(row.manufacturer, row.model)
		if got.Name != row.want || ok != (row.want != "") {
			t.Errorf("%s %s: %q", row.manufacturer, row.model, got.Name)
		}
	}
	s.TokenProfiles = append([]TokenProfile{{Name: "first", Match: Match{"*", "Soft*"}}}, s.TokenProfiles...)
	if got, _ := s.TokenProfileFor("SoftHSM project", "SoftHSM v2"); got.Name != "first" {
		t.Errorf("got %q", got.Name)
	}
	// One of the same name replaces the built-in one.
	again, err := Parse([]byte("tokenProfiles:\n- name: softhsm2\n  match: {model: SoftHSM v2}\n  soPin: {length: 20}\n"), "/")
	if err != nil || len(again.TokenProfiles) != len(BuiltinTokenProfiles()) || again.TokenProfiles[0].SOPIN != (PINPolicy{20, "digits"}) {
		t.Errorf("%v %+v", err, again)
	}
	if p, ok := s.ProductFor("CERT272353"); !ok || p.Key.Algorithm != "rsa2048" {
		t.Error("product not found")
	}
	if _, ok := s.ProductFor("CERT"); ok {
		t.Error("found a product that is not there")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("station: a\nmodules:\n- name: b\n  tokens: 1\n")
	f.Add("products: [{code: A, key: {algorithm: rsa2048}, tokenLabel: \"{{.UnitID}}\"}]\n")
	f.Add("a: &a [*a]\n---\n...\n")
	f.Add("tokenProfiles:\n  - {name: x, deadlines: {call: 5s}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse([]byte(text), "/nowhere")
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("not a typed error: %v", err)
			}
			return
		}
		if err := s.Validate(); err == nil {
			t.Error("valid without any of its files")
		}
	})
}
