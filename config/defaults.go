package config

import (
	"slices"
	"strings"
	"time"
)

// KeyAlgorithms are the names that products[].key.algorithm may have.
func KeyAlgorithms() []string { return []string{"rsa2048", "rsa3072", "rsa4096", "ec-p256", "ec-p384"} }

// Whose file a module may be.
const (
	TrustRoot  = "root"
	TrustOwner = "owner"
)

// Identities are what may tell tokens of one model apart: their serial; the reader,
// where all show the same serial; or nothing, so that one at a time may be there.
func Identities() []string { return []string{"serial", "reader", "single"} }

// UserPINWays are how a user PIN is set: by the SO (C_InitPIN), or by the user, who
// changes the factory's (C_SetPIN).
func UserPINWays() []string { return []string{"init", "change"} }

// KeyLogins are who makes keys and writes certificates.
func KeyLogins() []string { return []string{"user", "so"} }

// How a user PIN leaves the station.
const (
	// DeliverSealed: in an envelope for recipients.userPin, through the central server.
	DeliverSealed = "sealed"
	// DeliverMailer: in a letter that is printed at the station.
	DeliverMailer = "mailer"
	// DeliverFirstUse: everybody knows it, and the token has its holder change it first.
	DeliverFirstUse = "change-at-first-use"
)

// Deliveries are the ways in which a user PIN leaves the station.
func Deliveries() []string { return []string{DeliverSealed, DeliverMailer, DeliverFirstUse} }

// Of which orders every key is inserted again before its parcel is closed.
const (
	VerifySeveral = "several" // of orders of more than one key
	VerifyAlways  = "always"
	VerifyNever   = "never"
)

// Verifications lists them.
func Verifications() []string { return []string{VerifySeveral, VerifyAlways, VerifyNever} }

// Languages are those of PIN mailers.
func Languages() []string { return []string{"zh-CN", "en"} }

// PINRules are what may be kept from being a user PIN: a character three times running
// or one block over and over; three characters running up or down; days; four
// characters running of the order's own numbers.
func PINRules() []string { return []string{"repeats", "sequences", "dates", "order"} }

// Alphabets are the named PIN alphabets. readable leaves out characters that
// look alike in print (0 and O, 1 and I and L).
func Alphabets() map[string]string {
	const digits, upper, lower = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
	return map[string]string{
		"digits":       digits,
		"hex":          digits + "abcdef",
		"alphanumeric": digits + upper + lower,
		"readable":     "23456789ABCDEFGHJKMNPQRSTUVWXYZ",
	}
}

// Characters are those that the PIN is drawn from.
func (p PINPolicy) Characters() string {
	if named, ok := Alphabets()[p.Alphabet]; ok {
		return named
	}
	return p.Alphabet
}

// AllowedEnvironment lists the variables that a module may be given: the ones by
// which modules find their tokens and settings. Nothing that loads code into the
// process (LD_PRELOAD, OPENSSL_CONF) and nothing that writes a log with PINs in
// it (PKCS11SPY, YKCS11_DBG, OPENSC_DEBUG) is among them.
func AllowedEnvironment() []string {
	return []string{
		"KRYOPTIC_CONF",
		"OPENSC_CONF",
		"P11_KIT_SERVER_ADDRESS",
		"PCSCLITE_CSOCK_NAME", // which pcscd
		"SOFTHSM2_CONF",
		"TPM2_PKCS11_STORE",
		"TPM2_PKCS11_TCTI",
	}
}

// BuiltinTokenProfiles are tried after the configured ones.
func BuiltinTokenProfiles() []TokenProfile {
	softhsm := defaultTokenProfile()
	softhsm.Name = "softhsm2"
	softhsm.Match = Match{Manufacturer: "SoftHSM project", Model: "SoftHSM v2"}
	// openCryptoki's soft token: every one shows the serial number 123; PINs of 4 to 8.
	opencryptoki := defaultTokenProfile()
	opencryptoki.Name = "opencryptoki-soft"
	opencryptoki.Match = Match{Manufacturer: "IBM Corp.", Model: "IBM SoftTok"}
	opencryptoki.SOPIN = PINPolicy{Length: 8, Alphabet: "digits"}
	opencryptoki.WellKnownSOPIN = "87654321"
	opencryptoki.Identity = "reader"
	// YubiKeys through ykcs11 (2.2.0): the SO PIN is the management key, keys are made by
	// the security officer, slot 9A is CKA_ID 1 and the retired slots are 5 and up.
	ykcs11 := defaultTokenProfile()
	ykcs11.Name = "ykcs11"
	ykcs11.Match = Match{Manufacturer: "Yubico (www.yubico.com)", Model: "YubiKey *"}
	ykcs11.SOPIN = PINPolicy{Length: 48, Alphabet: "hex"}
	ykcs11.WellKnownSOPIN, ykcs11.WellKnownUserPIN = "010203040506070801020304050607080102030405060708", "123456"
	ykcs11.Initialise, ykcs11.UserPIN, ykcs11.KeyLogin, ykcs11.SOPINUncounted = false, "change", "so", true
	ykcs11.KeyID, ykcs11.CAKeyIDs = "01", []string{"05", "06", "07", "08"}
	ykcs11.OmitAttributes = []string{"CKA_EXTRACTABLE", "CKA_PRIVATE"}
	ykcs11.OwnLabels = []string{"X.509 Certificate for PIV Attestation*", "Public key for PIV Attestation*", "Private key for PIV Attestation*"}
	return []TokenProfile{softhsm, opencryptoki, ykcs11}
}

func defaultStation() Station {
	return Station{
		Central:  Central{Certificate: "station.crt", Key: "station.key"},
		Identity: Identity{Tier: TierTPM},
		Mailer: Mailer{
			Server: "/run/cups/cups.sock", Spool: "/var/spool/cups", Font: "/usr/share/fonts/truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf",
			Language: "zh-CN", Patience: time.Minute,
		},
		Console: Console{Socket: DefaultConsoleSocket, LockAfter: 15 * time.Minute},
		Packing: Packing{Waybills: []string{"SF[0-9]{12,13}"}, Verify: VerifySeveral},
		Journal: Journal{Keep: 400 * 24 * time.Hour},
		Labels:  Labels{Server: "/run/cups/cups.sock", Size: "50x30", Font: "/usr/share/fonts/truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf", Patience: time.Minute},
	}
}

func defaultModule() Module { return Module{Tokens: 1, Trust: TrustRoot} }

func defaultTokenProfile() TokenProfile {
	return TokenProfile{
		Match: Match{Manufacturer: "*", Model: "*"},
		SOPIN: PINPolicy{Length: 16, Alphabet: "digits"},
		// RSA on a smart card takes seconds to more than a minute, so the bound is wide.
		Deadlines: Deadlines{KeyGeneration: 180 * time.Second, Init: 60 * time.Second, Call: 20 * time.Second},
		Identity:  "serial", Initialise: true, UserPIN: "init", KeyLogin: "user",
	}
}

func defaultProduct() Product {
	return Product{
		Certificate: Certificate{ValidityTolerance: 24 * time.Hour, ClockTolerance: 10 * time.Minute},
		UserPIN:     UserPIN{Length: 8, Alphabet: "digits", Deny: PINRules(), Delivery: DeliverSealed},
		TokenLabel:  "{{.UnitID}}",
	}
}

// UnmarshalYAML starts from the defaults of one module.
func (m *Module) UnmarshalYAML(decode func(any) error) error {
	type plain Module
	p := plain(defaultModule())
	if err := decode(&p); err != nil {
		return err
	}
	*m = Module(p)
	return nil
}

// UnmarshalYAML starts from the defaults of one token profile.
func (t *TokenProfile) UnmarshalYAML(decode func(any) error) error {
	type plain TokenProfile
	p := plain(defaultTokenProfile())
	if err := decode(&p); err != nil {
		return err
	}
	*t = TokenProfile(p)
	return nil
}

// UnmarshalYAML starts from the defaults of one product.
func (p *Product) UnmarshalYAML(decode func(any) error) error {
	type plain Product
	q := plain(defaultProduct())
	if err := decode(&q); err != nil {
		return err
	}
	*p = Product(q)
	return nil
}

// TokenProfileFor returns the first profile that matches a token's manufacturer
// and model, or false: a model without a profile is not written.
func (s *Station) TokenProfileFor(manufacturer, model string) (TokenProfile, bool) {
	i := slices.IndexFunc(s.TokenProfiles, func(t TokenProfile) bool {
		return matches(t.Match.Manufacturer, manufacturer) && matches(t.Match.Model, model)
	})
	if i < 0 {
		return TokenProfile{}, false
	}
	return s.TokenProfiles[i], true
}

func matches(pattern, value string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(value, prefix)
	}
	return pattern == value
}

// ProductFor returns the product of that code, or false.
func (s *Station) ProductFor(code string) (Product, bool) {
	i := slices.IndexFunc(s.Products, func(p Product) bool { return p.Code == code })
	if i < 0 {
		return Product{}, false
	}
	return s.Products[i], true
}

// SealsUserPINs reports whether a product's PINs may be delivered in envelopes.
func (s *Station) SealsUserPINs() bool {
	return slices.ContainsFunc(s.Products, func(p Product) bool {
		return p.UserPIN.Delivery != DeliverMailer && p.UserPIN.Delivery != DeliverFirstUse
	})
}

// PrintsMailers reports whether a product's PINs are delivered by letters printed here.
func (s *Station) PrintsMailers() bool {
	return slices.ContainsFunc(s.Products, func(p Product) bool { return p.UserPIN.Delivery == DeliverMailer })
}
