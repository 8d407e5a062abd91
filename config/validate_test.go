package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// fields lists the paths of all faults.
func fields(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("not a joined error: %v", err)
	}
	var out []string
	for _, e := range joined.Unwrap() {
		var f *FieldError
		if !errors.As(e, &f) || !errors.Is(e, ErrInvalid) {
			t.Fatalf("not a FieldError: %v", e)
		}
		out = append(out, f.Field)
	}
	return out
}

func TestValidate(t *testing.T) {
	if err := parsed(t).Validate(); err != nil {
		t.Fatal(err)
	}
	label := func(s string) func(*Station, string) {
		return func(st *Station, _ string) { st.Products[0].TokenLabel = s }
	}
	alphabet := func(s string) func(*Station, string) {
		return func(st *Station, _ string) { st.Products[0].UserPIN.Alphabet = s }
	}
	file := func(name, data string, mode os.FileMode) func(*Station, string) {
		return func(_ *Station, dir string) { write(t, filepath.Join(dir, name), []byte(data), mode) }
	}
	remove := func(name string) func(*Station, string) {
		return func(_ *Station, dir string) { os.Remove(filepath.Join(dir, name)) }
	}
	url := func(u string) func(*Station, string) {
		return func(s *Station, _ string) { s.Central.URLs[1] = u }
	}
	mailer := func(change func(*Station)) func(*Station, string) {
		return func(s *Station, dir string) {
			s.Products[0].UserPIN.Delivery, s.Mailer.Printer, s.Mailer.Font = DeliverMailer, "letters", filepath.Join(dir, "module.so")
			change(s)
		}
	}
	printed := func(change func(*Labels)) func(*Station, string) {
		return func(s *Station, dir string) {
			s.Labels.Printer, s.Labels.Font, s.Labels.OneAtATime = "labels", filepath.Join(dir, "module.so"), true
			change(&s.Labels)
		}
	}
	env := func(name, value string) func(*Station, string) {
		return func(s *Station, _ string) { s.Modules[0].Env = map[string]string{name: value} }
	}
	for _, row := range []struct {
		name   string
		change func(s *Station, dir string)
		field  string // "": still valid
	}{
		{"no name", func(s *Station, _ string) { s.Name = "" }, "station"},
		{"name in capitals", func(s *Station, _ string) { s.Name = "Demo" }, "station"},
		{"name ends with a hyphen", func(s *Station, _ string) { s.Name = "demo-" }, "station"},
		{"name of 64 characters", func(s *Station, _ string) { s.Name = strings.Repeat("a", 64) }, "station"},
		{"name of 63 characters", func(s *Station, _ string) { s.Name = strings.Repeat("a", 63) }, ""},
		{"relative state folder", func(s *Station, _ string) { s.StateDir = "state" }, "stateDir"},

		{"no URL", func(s *Station, _ string) { s.Central.URLs = nil }, "central.urls"},
		{"http", url("http://central.example.com"), "central.urls[1]"},
		{"URL with a user", url("https://a:b@central.example.com"), "central.urls[1]"},
		{"URL with a query", url("https://central.example.com/?a=b"), "central.urls[1]"},
		{"URL with a fragment", url("https://central.example.com/#a"), "central.urls[1]"},
		{"URL without a host", url("https:///path"), "central.urls[1]"},
		{"URL that is none", url("https://[::1"), "central.urls[1]"},
		{"URL twice", url("https://127.0.0.1:8443"), "central.urls[1]"},
		{"trust missing", remove("central-root.pem"), "central.trust"},
		{"trust is a folder", func(s *Station, dir string) { s.Central.Trust = dir }, "central.trust"},
		{"trust without PEM", file("central-root.pem", "x", 0o600), "central.trust"},
		{"trust with a key in it", file("central-root.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600), "central.trust"},
		{"certificate missing, key there", remove("station.crt"), "central.certificate"},
		{"key missing, certificate there", remove("station.key"), "central.key"},
		{"not enrolled yet", func(_ *Station, dir string) {
			os.Remove(filepath.Join(dir, "station.crt"))
			os.Remove(filepath.Join(dir, "station.key"))
		}, ""},
		{"no certificate named", func(s *Station, _ string) { s.Central.Certificate = "" }, "central.certificate"},
		{"no key named", func(s *Station, _ string) { s.Central.Key = "" }, "central.key"},
		{"key readable by others", func(_ *Station, dir string) { os.Chmod(filepath.Join(dir, "station.key"), 0o640) }, "central.key"},
		{"key without PEM", file("station.key", "x", 0o600), "central.key"},

		{"no tier", func(s *Station, _ string) { s.Identity.Tier = "" }, "identity.tier"},
		{"another tier", func(s *Station, _ string) { s.Identity.Tier = "hsm" }, "identity.tier"},
		{"a device without a TPM", func(s *Station, _ string) { s.Identity.Device = "/dev/tpmrm0" }, "identity.tier"},
		{"registers without a TPM", func(s *Station, _ string) { s.Identity.PCRs = []int{7} }, "identity.tier"},
		{"a TPM without a key file", func(s *Station, dir string) {
			s.Identity.Tier, s.Central.Key = TierTPM, ""
			os.Remove(filepath.Join(dir, "station.key"))
		}, ""},
		{"a TPM that is not enrolled yet", func(s *Station, dir string) {
			s.Identity.Tier = TierTPM
			os.Remove(filepath.Join(dir, "station.crt"))
		}, ""},
		{"a TPM and a certificate without PEM", func(s *Station, dir string) {
			s.Identity.Tier = TierTPM
			os.WriteFile(filepath.Join(dir, "station.crt"), []byte("x"), 0o600)
		}, "central.certificate"},
		{"a TPM without a certificate named", func(s *Station, _ string) { s.Identity.Tier, s.Central.Certificate = TierTPM, "" }, "central.certificate"},
		{"registers without recovery", tpm(func(i *Identity, _ string) { i.PCRs = []int{7} }), "identity.recovery"},
		{"registers with recovery", tpm(func(i *Identity, dir string) {
			i.PCRs, i.Recovery = []int{0, 7}, []string{filepath.Join(dir, "trust.pem")}
		}), ""},
		{"register 24", tpm(func(i *Identity, dir string) {
			i.PCRs, i.Recovery = []int{24}, []string{filepath.Join(dir, "trust.pem")}
		}), "identity.pcrs[0]"},
		{"register -1", tpm(func(i *Identity, dir string) {
			i.PCRs, i.Recovery = []int{-1}, []string{filepath.Join(dir, "trust.pem")}
		}), "identity.pcrs[0]"},
		{"register twice", tpm(func(i *Identity, dir string) {
			i.PCRs, i.Recovery = []int{7, 7}, []string{filepath.Join(dir, "trust.pem")}
		}), "identity.pcrs[1]"},
		{"recovery missing", tpm(func(i *Identity, dir string) { i.Recovery = []string{filepath.Join(dir, "none.pem")} }), "identity.recovery[0]"},
		{"recovery twice", tpm(func(i *Identity, dir string) {
			i.Recovery = slices.Repeat([]string{filepath.Join(dir, "trust.pem")}, 2)
		}), "identity.recovery[1]"},

		{"no recipient of user PINs", func(s *Station, _ string) { s.Recipients.UserPIN = nil }, "recipients.userPin"},
		{"no recipient of SO PINs", func(s *Station, _ string) { s.Recipients.SOPIN = nil }, "recipients.soPin"},
		{"fingerprint too short", func(s *Station, _ string) { s.Recipients.UserPIN[0] = "1111" }, "recipients.userPin[0]"},
		{"fingerprint not hexadecimal", func(s *Station, _ string) { s.Recipients.SOPIN[0] = strings.Repeat("zz", 32) }, "recipients.soPin[0]"},
		{"recipient twice", func(s *Station, _ string) { s.Recipients.SOPIN[1] = s.Recipients.SOPIN[0] }, "recipients.soPin[1]"},
		{"one recipient of SO PINs", func(s *Station, _ string) { s.Recipients.SOPIN = s.Recipients.SOPIN[:1] }, "recipients.soPin"},
		{"trust of certificates missing", remove("trust.pem"), "certificateTrust"},
		{"trust of certificates not named", func(s *Station, _ string) { s.CertificateTrust = "" }, "certificateTrust"},

		{"no module", func(s *Station, _ string) { s.Modules = nil }, "modules"},
		{"the same module twice", func(s *Station, _ string) { s.Modules[1] = s.Modules[0]; s.Modules[1].Name = "again" }, "modules[1].path"},
		{"module without a name", func(s *Station, _ string) { s.Modules[1].Name = "" }, "modules[1].name"},
		{"module's name twice", func(s *Station, _ string) { s.Modules[1].Name = "bay-01" }, "modules[1].name"},
		{"module's path relative", func(s *Station, _ string) { s.Modules[1].Path = "module.so" }, "modules[1].path"},
		{"module missing", func(s *Station, dir string) { s.Modules[1].Path = filepath.Join(dir, "none.so") }, "modules[1].path"},
		{"module is a folder", func(s *Station, dir string) { s.Modules[1].Path = dir }, "modules[1].path"},
		{"LD_PRELOAD", env("LD_PRELOAD", "/x.so"), "modules[0].env.LD_PRELOAD"},
		{"variable in small letters", env("softhsm2_conf", "/x"), "modules[0].env.softhsm2_conf"},
		{"variable empty", env("SOFTHSM2_CONF", ""), "modules[0].env.SOFTHSM2_CONF"},
		{"variable with a line end", env("SOFTHSM2_CONF", "/a\nLD_PRELOAD=/x"), "modules[0].env.SOFTHSM2_CONF"},
		{"another allowed variable", env("P11_KIT_SERVER_ADDRESS", "unix:path=/run/p11"), ""},
		{"no tokens", func(s *Station, _ string) { s.Modules[0].Tokens = 0 }, "modules[0].tokens"},
		{"unknown trust", func(s *Station, _ string) { s.Modules[0].Trust = "unchecked" }, "modules[0].trust"},
		{"short SHA-256", func(s *Station, _ string) { s.Modules[0].SHA256 = "ab12" }, "modules[0].sha256"},
		{"SHA-256 in capitals", func(s *Station, _ string) { s.Modules[0].SHA256 = strings.Repeat("AB", 32) }, "modules[0].sha256"},
		{"too many tokens", func(s *Station, _ string) { s.Modules[0].Tokens = 65 }, "modules[0].tokens"},

		{"profile without a name", func(s *Station, _ string) { s.TokenProfiles[0].Name = "" }, "tokenProfiles[0].name"},
		{"profile's name twice", func(s *Station, _ string) { s.TokenProfiles[0].Name = "softhsm2" }, "tokenProfiles[1].name"},
		{"profile for every token", func(s *Station, _ string) { s.TokenProfiles[0].Match = Match{"*", "*"} }, "tokenProfiles[0].match"},
		{"star in the middle", func(s *Station, _ string) { s.TokenProfiles[0].Match.Model = "a*b" }, "tokenProfiles[0].match.model"},
		{"model longer than a token shows", func(s *Station, _ string) { s.TokenProfiles[0].Match.Model = strings.Repeat("a", 18) }, "tokenProfiles[0].match.model"},
		{"manufacturer empty", func(s *Station, _ string) { s.TokenProfiles[0].Match.Manufacturer = "" }, "tokenProfiles[0].match.manufacturer"},
		{"manufacturer ends with a blank", func(s *Station, _ string) { s.TokenProfiles[0].Match.Manufacturer = "Sample " }, "tokenProfiles[0].match.manufacturer"},
		{"SO PIN of 5", func(s *Station, _ string) { s.TokenProfiles[0].SOPIN.Length = 5 }, "tokenProfiles[0].soPin.length"},
		{"factory SO PIN missing", remove("factory-so.pin"), "tokenProfiles[0].factorySoPinFile"},
		{"factory SO PIN empty", file("factory-so.pin", "\n", 0o600), "tokenProfiles[0].factorySoPinFile"},
		{"factory SO PIN readable by others", file("factory-so.pin", "12345678", 0o644), "tokenProfiles[0].factorySoPinFile"},
		{"no time for key generation", func(s *Station, _ string) { s.TokenProfiles[0].Deadlines.KeyGeneration = 0 }, "tokenProfiles[0].deadlines.keyGeneration"},
		{"too much time to initialise", func(s *Station, _ string) { s.TokenProfiles[0].Deadlines.Init = time.Hour }, "tokenProfiles[0].deadlines.init"},
		{"negative time for a call", func(s *Station, _ string) { s.TokenProfiles[0].Deadlines.Call = -1 }, "tokenProfiles[0].deadlines.call"},
		{"attribute without CKA_", func(s *Station, _ string) { s.TokenProfiles[0].OmitAttributes[0] = "EXTRACTABLE" }, "tokenProfiles[0].omitAttributes[0]"},
		{"unknown identity", func(s *Station, _ string) { s.TokenProfiles[0].Identity = "label" }, "tokenProfiles[0].identity"},
		{"unknown way to a user PIN", func(s *Station, _ string) { s.TokenProfiles[0].UserPIN = "guess" }, "tokenProfiles[0].userPin"},
		{"unknown login", func(s *Station, _ string) { s.TokenProfiles[0].KeyLogin = "both" }, "tokenProfiles[0].keyLogin"},
		{"PIN to change is not given", func(s *Station, _ string) { s.TokenProfiles[0].UserPIN = "change" }, "tokenProfiles[0].factoryUserPinFile"},
		{"PIN to change is readable by others", func(s *Station, dir string) {
			write(t, filepath.Join(dir, "user.pin"), []byte("123456"), 0o644)
			s.TokenProfiles[0].UserPIN, s.TokenProfiles[0].FactoryUserPINFile = "change", filepath.Join(dir, "user.pin")
		}, "tokenProfiles[0].factoryUserPinFile"},
		{"factory user PIN without use", func(s *Station, dir string) {
			s.TokenProfiles[0].FactoryUserPINFile = filepath.Join(dir, "factory-so.pin")
		}, "tokenProfiles[0].factoryUserPinFile"},
		{"not initialised, PIN set by the SO", func(s *Station, _ string) { s.TokenProfiles[0].Initialise = false }, "tokenProfiles[0].userPin"},
		{"not initialised, factory SO PIN unknown", func(s *Station, _ string) {
			p := &s.TokenProfiles[0]
			p.Initialise, p.FactorySOPINFile, p.UserPIN, p.WellKnownUserPIN = false, "", "change", "123456"
		}, "tokenProfiles[0].factorySoPinFile"},
		{"key id in capitals", func(s *Station, _ string) { s.TokenProfiles[0].KeyID = "0A" }, "tokenProfiles[0].keyId"},
		{"key id for a CA too", func(s *Station, _ string) {
			s.TokenProfiles[0].KeyID, s.TokenProfiles[0].CAKeyIDs = "01", []string{"01"}
		}, "tokenProfiles[0].caKeyIds[0]"},
		{"label of anything", func(s *Station, _ string) { s.TokenProfiles[0].OwnLabels = []string{"*"} }, "tokenProfiles[0].ownLabels[0]"},
		{"attestation roots missing", func(s *Station, dir string) { s.TokenProfiles[0].AttestationTrust = filepath.Join(dir, "none.pem") }, "tokenProfiles[0].attestationTrust"},
		{"control character for C_Initialize", func(s *Station, _ string) { s.Modules[0].Reserved = "a\nb" }, "modules[0].reserved"},
		{"attribute twice", func(s *Station, _ string) { s.TokenProfiles[0].OmitAttributes = []string{"CKA_ID", "CKA_ID"} }, "tokenProfiles[0].omitAttributes[1]"},

		{"no product", func(s *Station, _ string) { s.Products = nil }, "products"},
		{"code in small letters", func(s *Station, _ string) { s.Products[0].Code = "cert" }, "products[0].code"},
		{"code with a slash", func(s *Station, _ string) { s.Products[0].Code = "A/B" }, "products[0].code"},
		{"code twice", func(s *Station, _ string) { s.Products = slices.Repeat(s.Products, 2) }, "products[1].code"},
		{"unknown algorithm", func(s *Station, _ string) { s.Products[0].Key.Algorithm = "rsa1024" }, "products[0].key.algorithm"},
		{"no subject", func(s *Station, _ string) { s.Products[0].Certificate.Subject = nil }, "products[0].certificate.subject"},
		{"attribute without a type", func(s *Station, _ string) { s.Products[0].Certificate.Subject[1].Type = "" }, "products[0].certificate.subject[1].type"},
		{"attribute without a value", func(s *Station, _ string) { s.Products[0].Certificate.Subject[1].Value = "" }, "products[0].certificate.subject[1].value"},
		{"no key usage", func(s *Station, _ string) { s.Products[0].Certificate.KeyUsage = nil }, "products[0].certificate.keyUsage"},
		{"negative tolerance", func(s *Station, _ string) { s.Products[0].Certificate.ValidityTolerance = -1 }, "products[0].certificate.validityTolerance"},
		{"clock tolerance of a week", func(s *Station, _ string) { s.Products[0].Certificate.ClockTolerance = 168 * time.Hour }, "products[0].certificate.clockTolerance"},

		{"user PIN of 5", func(s *Station, _ string) { s.Products[0].UserPIN.Length = 5 }, "products[0].userPin.length"},
		{"user PIN of 65", func(s *Station, _ string) { s.Products[0].UserPIN.Length = 65 }, "products[0].userPin.length"},
		{"user PIN of 64", func(s *Station, _ string) { s.Products[0].UserPIN.Length = 64 }, ""},
		{"alphabet of 9", alphabet("012345678"), "products[0].userPin.alphabet"},
		{"alphabet of 10", alphabet("abcdefghij"), ""},
		{"alphabet with a repeat", alphabet("01234567899"), "products[0].userPin.alphabet"},
		{"alphabet with a blank", alphabet("0123456789 "), "products[0].userPin.alphabet"},
		{"alphabet beyond ASCII", alphabet("0123456789é"), "products[0].userPin.alphabet"},
		{"misspelt alphabet", alphabet("digit"), "products[0].userPin.alphabet"},
		{"no alphabet", alphabet(""), "products[0].userPin.alphabet"},
		{"readable alphabet", alphabet("readable"), ""},
		{"unknown rule", func(s *Station, _ string) { s.Products[0].UserPIN.Deny = []string{"dates", "birthdays"} }, "products[0].userPin.deny[1]"},
		{"rule twice", func(s *Station, _ string) { s.Products[0].UserPIN.Deny = []string{"dates", "dates"} }, "products[0].userPin.deny[1]"},
		{"no rule", func(s *Station, _ string) { s.Products[0].UserPIN.Deny = nil }, ""},
		{"first use", func(s *Station, _ string) {
			s.Products[0].UserPIN.Delivery, s.Products[0].UserPIN.FirstPIN = "change-at-first-use", "000000"
		}, ""},
		{"first use without a PIN", func(s *Station, _ string) { s.Products[0].UserPIN.Delivery = "change-at-first-use" }, "products[0].userPin.firstPin"},
		{"first PIN with a blank", func(s *Station, _ string) {
			s.Products[0].UserPIN.Delivery, s.Products[0].UserPIN.FirstPIN = "change-at-first-use", "0000 00"
		}, "products[0].userPin.firstPin"},
		{"first PIN of a sealed one", func(s *Station, _ string) { s.Products[0].UserPIN.FirstPIN = "000000" }, "products[0].userPin.firstPin"},
		{"mailers", mailer(func(*Station) {}), ""},
		{"mailers and no recipient of user PINs", mailer(func(s *Station) { s.Recipients.UserPIN = nil }), ""},
		{"mailers without a printer", mailer(func(s *Station) { s.Mailer.Printer = "" }), "mailer.printer"},
		{"a printer named like an option", mailer(func(s *Station) { s.Mailer.Printer = "-o" }), "mailer.printer"},
		{"a printer with a path", mailer(func(s *Station) { s.Mailer.Printer = "../letters" }), "mailer.printer"},
		{"CUPS on a port", mailer(func(s *Station) { s.Mailer.Server = "127.0.0.1:631" }), ""},
		{"CUPS elsewhere", mailer(func(s *Station) { s.Mailer.Server = "192.0.2.1:631" }), "mailer.server"},
		{"CUPS by a name", mailer(func(s *Station) { s.Mailer.Server = "localhost:631" }), "mailer.server"},
		{"spool relative", mailer(func(s *Station) { s.Mailer.Spool = "spool" }), "mailer.spool"},
		{"font missing", mailer(func(s *Station) { s.Mailer.Font += "x" }), "mailer.font"},
		{"language unknown", mailer(func(s *Station) { s.Mailer.Language = "fr" }), "mailer.language"},
		{"no patience", mailer(func(s *Station) { s.Mailer.Patience = 0 }), "mailer.patience"},
		{"a printer that is not needed, without a font", func(s *Station, _ string) { s.Mailer.Printer, s.Mailer.Font = "letters", "" }, "mailer.font"},
		{"no carrier", func(s *Station, _ string) { s.Packing.Waybills = nil }, "packing.waybills"},
		{"two carriers", func(s *Station, _ string) { s.Packing.Waybills = append(s.Packing.Waybills, "[0-9]{12}") }, ""},
		{"too many carriers", func(s *Station, _ string) { s.Packing.Waybills = slices.Repeat(s.Packing.Waybills, 17) }, "packing.waybills"},
		{"a carrier's pattern that is none", func(s *Station, _ string) { s.Packing.Waybills[0] = "SF[" }, "packing.waybills[0]"},
		{"an empty pattern", func(s *Station, _ string) { s.Packing.Waybills[0] = "" }, "packing.waybills[0]"},
		{"keys always verified", func(s *Station, _ string) { s.Packing.Verify = VerifyAlways }, ""},
		{"keys verified now and then", func(s *Station, _ string) { s.Packing.Verify = "sometimes" }, "packing.verify"},
		{"labels one at a time", printed(func(*Labels) {}), ""},
		{"labels one at a time and no printer", printed(func(l *Labels) { l.Printer = "" }), "labels.printer"},
		{"no printer of labels", printed(func(l *Labels) { l.Printer, l.OneAtATime, l.Font = "", false, "" }), ""},
		{"a printer of labels with a path", printed(func(l *Labels) { l.Printer = "../labels" }), "labels.printer"},
		{"labels elsewhere", printed(func(l *Labels) { l.Server = "192.0.2.1:631" }), "labels.server"},
		{"labels without a font", printed(func(l *Labels) { l.Font += "x" }), "labels.font"},
		{"labels without patience", printed(func(l *Labels) { l.Patience = 0 }), "labels.patience"},
		{"labels of another shape", printed(func(l *Labels) { l.Size = "50x30mm" }), "labels.size"},
		{"labels too small", printed(func(l *Labels) { l.Size = "29x30" }), "labels.size"},
		{"labels too flat", printed(func(l *Labels) { l.Size = "50x19" }), "labels.size"},
		{"labels too wide", printed(func(l *Labels) { l.Size = "211x30" }), "labels.size"},
		{"first use on a token whose user changes its PIN", func(s *Station, _ string) {
			s.TokenProfiles[0].UserPIN, s.TokenProfiles[0].WellKnownUserPIN, s.TokenProfiles[0].ForcesPINChange = "change", "123456", true
		}, "tokenProfiles[0].forcesPinChange"},
		{"unknown delivery", func(s *Station, _ string) { s.Products[0].UserPIN.Delivery = "sms" }, "products[0].userPin.delivery"},

		{"label empty", label(""), "products[0].tokenLabel"},
		{"label the same for all", label("sample"), "products[0].tokenLabel"},
		{"label the same within an order", label("{{.OrderID}}"), "products[0].tokenLabel"},
		{"label the same in every order", label("sample {{.Sequence}}"), "products[0].tokenLabel"},
		{"label of order and number", label(`{{.OrderID}}/{{printf "%03d" .Sequence}}`), ""},
		{"label too long", label("unit {{.UnitID}}"), "products[0].tokenLabel"},
		{"label does not parse", label("{{.UnitID"), "products[0].tokenLabel"},
		{"label with an unknown field", label("{{.Unit}}"), "products[0].tokenLabel"},
		{"label with a loop", label("{{range 5}}{{end}}{{.UnitID}}"), "products[0].tokenLabel"},
		{"label ends with a blank", label("{{.UnitID}} "), "products[0].tokenLabel"},
		{"label with a line end", label("{{.UnitID}}\n"), "products[0].tokenLabel"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := parsed(t)
			row.change(s, filepath.Dir(s.CertificateTrust))
			got := fields(t, s.Validate())
			if row.field == "" && len(got) > 0 || row.field != "" && !slices.Equal(got, []string{row.field}) {
				t.Errorf("faults at %q, want %q: %v", got, row.field, s.Validate())
			}
		})
	}
}

func tpm(change func(i *Identity, dir string)) func(*Station, string) {
	return func(s *Station, dir string) {
		s.Identity.Tier = TierTPM
		change(&s.Identity, dir)
	}
}

func TestValidateReportsEverything(t *testing.T) {
	got := fields(t, (&Station{Modules: []Module{{}}, TokenProfiles: []TokenProfile{{}}, Products: []Product{{}}}).Validate())
	for _, want := range []string{
		"station", "stateDir", "central.urls", "central.trust", "central.certificate", "identity.tier",
		"recipients.userPin", "recipients.soPin", "certificateTrust", "modules[0].name", "modules[0].path", "modules[0].tokens", "modules[0].trust",
		"tokenProfiles[0].name", "tokenProfiles[0].soPin.length", "tokenProfiles[0].soPin.alphabet", "tokenProfiles[0].deadlines.call",
		"products[0].code", "products[0].key.algorithm", "products[0].certificate.subject", "products[0].certificate.keyUsage",
		"products[0].userPin.length", "products[0].userPin.delivery", "products[0].tokenLabel",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %q", want, got)
		}
	}
}

func TestEnrolled(t *testing.T) {
	s := parsed(t)
	if err := s.Enrolled(); err != nil {
		t.Error(err)
	}
	os.Remove(s.Central.Certificate)
	os.Chmod(s.Central.Key, 0o604)
	if got := fields(t, s.Enrolled()); !slices.Equal(got, []string{"central.certificate", "central.key"}) {
		t.Errorf("faults at %q", got)
	}
}

func TestReadSecretFile(t *testing.T) {
	dir := t.TempDir()
	for _, row := range []struct {
		name, content string
		mode          os.FileMode
		want          string // "": refused
	}{
		{"plain", "12345678", 0o600, "12345678"},
		{"with a line end", "12345678\n", 0o600, "12345678"},
		{"with a Windows line end", "12345678\r\n", 0o600, "12345678"},
		{"read only", "12345678", 0o400, "12345678"},
		{"blank inside", "1234 5678", 0o600, "1234 5678"},
		{"empty", "", 0o600, ""},
		{"empty line", "\n", 0o600, ""},
		{"two lines", "1234\n5678\n", 0o600, ""},
		{"empty second line", "1234\n\n", 0o600, ""},
		{"blank before", " 12345678", 0o600, ""},
		{"blank after", "12345678 \n", 0o600, ""},
		{"tab", "1234\t5678", 0o600, ""},
		{"zero byte", "1234\x00", 0o600, ""},
		{"not UTF-8", "1234\xff", 0o600, ""},
		{"byte order mark", "\ufeff12345678", 0o600, ""},
		{"too long", strings.Repeat("1", maxSecret+1), 0o600, ""},
		{"group may read", "12345678", 0o640, ""},
		{"others may read", "12345678", 0o604, ""},
		{"others may write", "12345678", 0o602, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(row.name, " ", "-"))
			write(t, path, []byte(row.content), row.mode)
			got, err := ReadSecretFile(path)
			if string(got) != row.want || (row.want == "") != errors.Is(err, ErrSecretFile) {
				t.Errorf("got %q, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "1234") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	for name, path := range map[string]string{"missing": filepath.Join(dir, "none"), "folder": dir, "no name": ""} {
		if got, err := ReadSecretFile(path); !errors.Is(err, ErrSecretFile) || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAlphabets(t *testing.T) {
	for name := range Alphabets() {
		var v validator
		v.pin("x", PINPolicy{16, name})
		if len(v.errs) > 0 {
			t.Errorf("%s: %v", name, v.errs)
		}
	}
	if got := (PINPolicy{8, "digits"}).Characters(); got != "0123456789" {
		t.Errorf("digits are %q", got)
	}
	if got := (PINPolicy{8, "ABCDEFGHJK"}).Characters(); got != "ABCDEFGHJK" {
		t.Errorf("literal characters became %q", got)
	}
}

// keys lists every key as docs/configuration.md writes it.
func keys(t reflect.Type, prefix string) []string {
	var out []string
	for f := range t.Fields() {
		if f.Tag.Get("yaml") == "-" {
			continue // known to the program alone
		}
		path := prefix + f.Tag.Get("yaml")
		kind := f.Type
		if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct {
			out = append(out, keys(kind.Elem(), path+"[].")...)
		} else if kind.Kind() == reflect.Struct {
			out = append(out, keys(kind, path+".")...)
		} else {
			out = append(out, path)
		}
	}
	return out
}

func TestEveryKeyIsDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(doc)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			key, _, _ := strings.Cut(rest, "`")
			documented[key] = true
		}
	}
	delete(documented, "products[].certificate.subject") // the list itself, beside its parts
	for _, key := range keys(reflect.TypeFor[Station](), "") {
		if !documented[key] {
			t.Errorf("%s is not in docs/configuration.md", key)
		}
		delete(documented, key)
	}
	for _, key := range slices.Sorted(maps.Keys(documented)) {
		t.Errorf("%s is in docs/configuration.md, but is no key", key)
	}
	text := string(doc)
	for _, word := range slices.Concat(AllowedEnvironment(), KeyAlgorithms(), Deliveries(), PINRules(), Languages(), Verifications(), Identities(), UserPINWays(), KeyLogins(), slices.Collect(maps.Keys(Alphabets()))) {
		if !strings.Contains(text, "`"+word+"`") {
			t.Errorf("%s is not in docs/configuration.md", word)
		}
	}
}

// The example is right but for the files that each station has of its own.
func TestExample(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "examples", "station.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := station(t)
	s, err := Parse(data, dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Modules {
		s.Modules[i].Path = filepath.Join(dir, "module.so")
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}
