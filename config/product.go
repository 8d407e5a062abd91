package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
	"unicode/utf8"
)

// Limits of PINs. 6 digits is the least that a lock-out after a few tries makes
// safe; 64 is longer than any token takes.
const (
	minPIN      = 6
	maxPIN      = 64
	minAlphabet = 10
)

// maxLabel is the size of CK_TOKEN_INFO.label in bytes (PKCS#11 v2.40, 3.2).
const maxLabel = 32

func (v *validator) tokenProfile(field string, t TokenProfile, before []TokenProfile) {
	v.check(field+".name", checkName(t.Name, 63))
	if slices.ContainsFunc(before, func(o TokenProfile) bool { return o.Name == t.Name }) {
		v.fault(field+".name", "%q is given twice", t.Name)
	}
	v.check(field+".match.manufacturer", checkPattern(t.Match.Manufacturer, 32))
	v.check(field+".match.model", checkPattern(t.Match.Model, 16))
	if t.Match.Manufacturer == "*" && t.Match.Model == "*" {
		v.fault(field+".match", "it matches every token; name a manufacturer or a model")
	}
	v.pin(field+".soPin", t.SOPIN)
	if t.FactorySOPINFile != "" {
		v.secret(field+".factorySoPinFile", t.FactorySOPINFile)
	}
	v.duration(field+".deadlines.keyGeneration", t.Deadlines.KeyGeneration, time.Second, time.Hour)
	v.duration(field+".deadlines.init", t.Deadlines.Init, time.Second, 10*time.Minute)
	v.duration(field+".deadlines.call", t.Deadlines.Call, time.Second, 10*time.Minute)
	v.ways(field, t)
	for i, name := range t.OmitAttributes {
		at := fmt.Sprintf("%s.omitAttributes[%d]", field, i)
		if !strings.HasPrefix(name, "CKA_") || len(name) < 5 || strings.ToUpper(name) != name {
			v.fault(at, "%q is not the name of an attribute such as CKA_EXTRACTABLE", name)
		} else if slices.Contains(t.OmitAttributes[:i], name) {
			v.fault(at, "given twice: leave one out")
		}
	}
}

// ways are the settings by which a model departs from PKCS#11.
func (v *validator) ways(field string, t TokenProfile) {
	v.oneOf(field+".identity", t.Identity, Identities())
	v.oneOf(field+".userPin", t.UserPIN, UserPINWays())
	v.oneOf(field+".keyLogin", t.KeyLogin, KeyLogins())
	changes := t.UserPIN == "change"
	switch known := t.FactoryUserPINFile != "" || t.WellKnownUserPIN != ""; {
	case changes && !known:
		v.fault(field+".factoryUserPinFile", "a file is needed with the PIN that is changed (userPin: change)")
	case !changes && t.FactoryUserPINFile != "":
		v.fault(field+".factoryUserPinFile", "it is used with userPin: change only; leave it out")
	case t.FactoryUserPINFile != "":
		v.secret(field+".factoryUserPinFile", t.FactoryUserPINFile)
	}
	if !t.Initialise && !t.HasFactorySOPIN() {
		v.fault(field+".factorySoPinFile", "a file is needed where tokens are not initialised (initialise: false)")
	}
	if !t.Initialise && !changes {
		v.fault(field+".userPin", "must be change where tokens are not initialised (initialise: false): they have a user PIN")
	}
	if t.ForcesPINChange && changes {
		v.fault(field+".forcesPinChange", "it is possible with userPin: init only, where the security officer sets the PIN")
	}
	if t.KeyID != "" {
		v.check(field+".keyId", checkKeyID(t.KeyID))
	}
	for i, id := range t.CAKeyIDs {
		at := fmt.Sprintf("%s.caKeyIds[%d]", field, i)
		v.check(at, checkKeyID(id))
		if id == t.KeyID || slices.Contains(t.CAKeyIDs[:i], id) {
			v.fault(at, "%q is given twice", id)
		}
	}
	for i, label := range t.OwnLabels {
		at := fmt.Sprintf("%s.ownLabels[%d]", field, i)
		if _, err := path.Match(label, ""); err != nil || strings.Trim(label, "* ") == "" {
			v.fault(at, "%q is not a text, with * where any other may stand", label)
		}
	}
	if t.AttestationTrust != "" {
		v.check(field+".attestationTrust", checkPEM(t.AttestationTrust))
	}
}

func (v *validator) oneOf(field, value string, allowed []string) {
	if !slices.Contains(allowed, value) {
		v.fault(field, "%q is none of %s", value, strings.Join(allowed, ", "))
	}
}

func (v *validator) secret(field, file string) {
	secret, err := ReadSecretFile(file)
	v.check(field, err)
	clear(secret)
}

// checkKeyID takes what a CKA_ID may be on any model.
func checkKeyID(s string) error {
	if b, err := hex.DecodeString(s); err != nil || len(b) == 0 || len(b) > 32 || strings.ToLower(s) != s {
		return fmt.Errorf("%q is not 1 to 32 bytes in lower-case hexadecimal", s)
	}
	return nil
}

// checkPattern takes exact text or a beginning and one "*"; limit is the size of the field in CK_TOKEN_INFO.
func checkPattern(p string, limit int) error {
	switch {
	case p == "":
		return errors.New("the whole text, or its beginning and *, is wanted")
	case strings.Contains(strings.TrimSuffix(p, "*"), "*"):
		return errors.New("* may stand at the end only")
	case len(p) > limit+1:
		return fmt.Errorf("it has more than the %d bytes that a token shows", limit)
	case strings.TrimSpace(p) != p:
		return errors.New("blanks at either end never match: leave them out")
	}
	return nil
}

func (v *validator) pin(field string, p PINPolicy) {
	if p.Length < minPIN || p.Length > maxPIN {
		v.fault(field+".length", "%d is not between %d and %d", p.Length, minPIN, maxPIN)
	}
	characters := p.Characters()
	seen := map[rune]bool{}
	for _, c := range characters {
		switch {
		case c <= ' ' || c > '~':
			v.fault(field+".alphabet", "%q is not a printable ASCII character other than the blank", c)
			return
		case seen[c]:
			v.fault(field+".alphabet", "%q is there twice, which would make it likelier than the others", c)
			return
		}
		seen[c] = true
	}
	if len(seen) < minAlphabet {
		v.fault(field+".alphabet", "%d different characters, at least %d are needed", len(seen), minAlphabet)
	}
}

func (v *validator) duration(field string, d, least, most time.Duration) {
	if d < least || d > most {
		v.fault(field, "%s is not between %s and %s", d, least, most)
	}
}

func (v *validator) product(field string, p Product, before []Product) {
	v.check(field+".code", checkCode(p.Code))
	if slices.ContainsFunc(before, func(o Product) bool { return o.Code == p.Code }) {
		v.fault(field+".code", "%q is given twice", p.Code)
	}
	v.oneOf(field+".key.algorithm", p.Key.Algorithm, KeyAlgorithms())
	v.certificate(field+".certificate", p.Certificate)
	v.pin(field+".userPin", p.UserPIN.Policy())
	for i, rule := range p.UserPIN.Deny {
		at := fmt.Sprintf("%s.userPin.deny[%d]", field, i)
		v.oneOf(at, rule, PINRules())
		if slices.Contains(p.UserPIN.Deny[:i], rule) {
			v.fault(at, "given twice: leave one out")
		}
	}
	v.oneOf(field+".userPin.delivery", p.UserPIN.Delivery, Deliveries())
	v.firstPIN(field+".userPin.firstPin", p.UserPIN)
	v.check(field+".tokenLabel", checkLabel(p.TokenLabel))
}

// firstPIN wants one exactly where it is used, and one that says itself that it is no secret.
func (v *validator) firstPIN(field string, u UserPIN) {
	switch used := u.Delivery == DeliverFirstUse; {
	case used && (len(u.FirstPIN) < minPIN || len(u.FirstPIN) > maxPIN || strings.ContainsFunc(u.FirstPIN, func(c rune) bool { return c <= ' ' || c > '~' })):
		v.fault(field, "%d to %d printable ASCII characters without blanks are needed (delivery: %s)", minPIN, maxPIN, DeliverFirstUse)
	case !used && u.FirstPIN != "":
		v.fault(field, "it is used with delivery: %s only; leave it out", DeliverFirstUse)
	}
}

// checkCode follows the ProductCode of the dispatch contract.
func checkCode(s string) error {
	capital := func(c byte) bool { return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	if s == "" || len(s) > 32 || !capital(s[0]) {
		return errors.New("1 to 32 characters beginning with A-Z or 0-9 are wanted")
	}
	for i := range len(s) {
		if !capital(s[i]) && !strings.ContainsRune("._-", rune(s[i])) {
			return fmt.Errorf("%q: only A-Z, 0-9, dot, underline and hyphen are allowed", s)
		}
	}
	return nil
}

func (v *validator) certificate(field string, c Certificate) {
	if len(c.Subject) == 0 {
		v.fault(field+".subject", "at least one attribute is needed")
	}
	for i, a := range c.Subject {
		if a.Type == "" {
			v.fault(fmt.Sprintf("%s.subject[%d].type", field, i), "a type such as CN is needed")
		}
		if a.Value == "" {
			v.fault(fmt.Sprintf("%s.subject[%d].value", field, i), "a value is needed")
		}
	}
	if len(c.KeyUsage) == 0 {
		v.fault(field+".keyUsage", "at least one is needed")
	}
	v.duration(field+".validityTolerance", c.ValidityTolerance, 0, 31*24*time.Hour)
	v.duration(field+".clockTolerance", c.ClockTolerance, 0, 24*time.Hour)
}

// checkLabel renders the label for units that differ in one thing each, with ids
// as long as the dispatch contract lets them be, and wants every label to fit and
// to be different. That is what a label is for: after C_InitToken a token is found
// again by it.
func checkLabel(source string) error {
	t, err := template.New("label").Option("missingkey=error").Parse(source)
	if err != nil {
		return templateError(err)
	}
	if t.Tree == nil {
		return errors.New("a label is needed")
	}
	for _, n := range t.Tree.Root.Nodes {
		if n.Type() != parse.NodeText && n.Type() != parse.NodeAction {
			return errors.New("only text and fields are supported in a label")
		}
	}
	first, sibling, other := sampleUnit("SAMPLE-ORDER-00000000001", 499), sampleUnit("SAMPLE-ORDER-00000000001", 500), sampleUnit("SAMPLE-ORDER-00000000002", 499)
	seen := map[string]bool{}
	for _, unit := range []UnitData{first, sibling, other} {
		var b strings.Builder
		if err := t.Execute(&b, unit); err != nil {
			return templateError(err)
		}
		if err := checkLabelText(b.String()); err != nil {
			return err
		}
		seen[b.String()] = true
	}
	if len(seen) < 3 {
		return errors.New("it must be different for every unit: use {{.UnitID}}, or {{.OrderID}} with {{.Sequence}}")
	}
	return nil
}

func checkLabelText(label string) error {
	switch {
	case len(label) == 0:
		return errors.New("a label is needed")
	case len(label) > maxLabel:
		return fmt.Errorf("%q is %d bytes, at most %d fit", label, len(label), maxLabel)
	case !utf8.ValidString(label) || strings.ContainsFunc(label, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return fmt.Errorf("%q has control characters", label)
	case strings.TrimSpace(label) != label:
		return fmt.Errorf("%q begins or ends with a blank", label)
	}
	return nil
}

func sampleUnit(order string, sequence int) UnitData {
	return UnitData{
		OrderID: order, UnitID: fmt.Sprintf("%s-%03d", order, sequence), Sequence: sequence, Of: 500,
		Company:     Company{Name: "示例客车配件有限公司", USCC: "91350200MA0000001W"},
		Handler:     Handler{Name: "经办人甲", Email: "sample@example.com"},
		ProductCode: "SAMPLE",
	}
}

// unknownField is how text/template, which has no type for it, says that there is no such field.
var unknownField = regexp.MustCompile(`can't evaluate field (\w+) in type `)

// templateError drops the prefix that names a file there is not, and names the fields that there are
// where another one was asked for.
func templateError(err error) error {
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("there is no field .%s; these are: %s", m[1], strings.Join(unitFields(reflect.TypeFor[UnitData](), "."), ", "))
	}
	return fmt.Errorf("template: %s", strings.TrimPrefix(err.Error(), "template: label:"))
}

// unitFields are those of a struct and of the structs in it, as templates name them.
func unitFields(of reflect.Type, path string) (out []string) {
	for f := range of.Fields() {
		if f.Type.Kind() == reflect.Struct {
			out = append(out, unitFields(f.Type, path+f.Name+".")...)
		} else {
			out = append(out, path+f.Name)
		}
	}
	return out
}
