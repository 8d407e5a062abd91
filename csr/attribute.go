package csr

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AttributeType is the type of a subject attribute: an OID in dotted form, such as "2.5.4.3".
type AttributeType string

// Attribute is one attribute of a subject: a type and its value as decoded text.
// It is comparable, so subjects can be treated as sets.
type Attribute struct {
	Type  AttributeType
	Value string
}

// String is "CN=示例", for people.
func (a Attribute) String() string { return a.Type.String() + "=" + a.Value }

// stringForm is the ASN.1 type in which a value is written.
type stringForm int

const (
	formUTF8 stringForm = iota
	formPrintable
	formIA5
)

type attributeRule struct {
	name     string
	oid      AttributeType
	form     stringForm
	min, max int // characters, not bytes
}

// attributeRules are the attributes known by name. Upper bounds are those of
// RFC 5280, appendix A.1 (ub-common-name and so on), which repeats X.520.
func attributeRules() [21]attributeRule {
	return [...]attributeRule{
		{"C", "2.5.4.6", formPrintable, 2, 2}, // RFC 5280: X520countryName is PrintableString (SIZE (2))
		{"ST", "2.5.4.8", formUTF8, 1, 128},
		{"L", "2.5.4.7", formUTF8, 1, 128},
		{"O", "2.5.4.10", formUTF8, 1, 64},
		{"OU", "2.5.4.11", formUTF8, 1, 64},
		{"CN", "2.5.4.3", formUTF8, 1, 64},
		{"title", "2.5.4.12", formUTF8, 1, 64},
		{"serialNumber", "2.5.4.5", formPrintable, 1, 64},
		{"organizationIdentifier", "2.5.4.97", formUTF8, 1, 256}, // X.520 (2012) 6.4.4: unbounded; the bound is ours
		{"businessCategory", "2.5.4.15", formUTF8, 1, 128},
		{"street", "2.5.4.9", formUTF8, 1, 128},                            // X.520 ub-street-address
		{"postalCode", "2.5.4.17", formUTF8, 1, 40},                        // X.520 ub-postal-code
		{"description", "2.5.4.13", formUTF8, 1, 1024},                     // X.520 ub-description
		{"UID", "0.9.2342.19200300.100.1.1", formUTF8, 1, 256},             // RFC 4519, 2.39
		{"DC", "0.9.2342.19200300.100.1.25", formIA5, 1, 63},               // RFC 4519, 2.4: one DNS label
		{"emailAddress", "1.2.840.113549.1.9.1", formIA5, 3, 255},          // RFC 5280: ub-emailaddress-length
		{"dnQualifier", "2.5.4.46", formPrintable, 1, 64},                  // RFC 5280: PrintableString; the bound is ours
		{"name", "2.5.4.41", formUTF8, 1, 256},                             // ub-name is 32768; ours is shorter
		{"SN", "2.5.4.4", formUTF8, 1, 256},                                // as name
		{"GN", "2.5.4.42", formUTF8, 1, 256},                               // as name
		{"jurisdictionC", "1.3.6.1.4.1.311.60.2.1.3", formPrintable, 2, 2}, // CA/B Forum EV guidelines, 9.2.4
	}
}

func (t AttributeType) rule() attributeRule {
	for _, r := range attributeRules() {
		if r.oid == t {
			return r
		}
	}
	// An attribute given by OID: a UTF8String with a bound of ours.
	return attributeRule{name: string(t), oid: t, form: formUTF8, min: 1, max: 256}
}

// String gives the known name of the type, else its OID.
func (t AttributeType) String() string { return t.rule().name }

// ParseAttributeType takes a known name (C, O, OU, CN, serialNumber,
// organizationIdentifier, L, ST …, as written here) or a dotted OID.
func ParseAttributeType(s string) (AttributeType, error) {
	var names []string
	for _, r := range attributeRules() {
		if s == r.name || s == string(r.oid) {
			return r.oid, nil
		}
		names = append(names, r.name)
	}
	if _, err := parseOID(s); err == nil {
		return AttributeType(s), nil
	}
	return "", fmt.Errorf("unknown attribute type %q: use a dotted OID or one of %s", s, strings.Join(names, ", "))
}

// parseOID reads a dotted OID in its one canonical spelling.
func parseOID(s string) (asn1.ObjectIdentifier, error) {
	bad := fmt.Errorf("%q is not a dotted OID", s)
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(s) > 128 {
		return nil, bad
	}
	oid := make(asn1.ObjectIdentifier, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseInt(p, 10, 32)
		if err != nil || n < 0 || strconv.FormatInt(n, 10) != p {
			return nil, bad
		}
		oid[i] = int(n)
	}
	// X.660: the first arc is 0 to 2, and below 0 and 1 there are 40.
	if oid[0] > 2 || (oid[0] < 2 && oid[1] >= 40) {
		return nil, bad
	}
	return oid, nil
}

// check tells whether the value can stand in a subject under its type.
func (a Attribute) check() error {
	r := a.Type.rule()
	if err := checkText(a.Value); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	switch n := utf8.RuneCountInString(a.Value); {
	case r.min == r.max && n != r.min:
		return fmt.Errorf("%s: %q has %d characters, must have exactly %d", r.name, a.Value, n, r.min)
	case n < r.min:
		return fmt.Errorf("%s: %q has %d characters, needs at least %d", r.name, a.Value, n, r.min)
	case n > r.max:
		return fmt.Errorf("%s: %q has %d characters, at most %d are allowed", r.name, a.Value, n, r.max)
	}
	switch {
	case r.form == formPrintable && strings.ContainsFunc(a.Value, func(c rune) bool { return !printable(c) }):
		return fmt.Errorf("%s: %q has characters that a PrintableString cannot hold", r.name, a.Value)
	case r.form == formIA5 && strings.ContainsFunc(a.Value, func(c rune) bool { return c > unicode.MaxASCII }):
		return fmt.Errorf("%s: %q has characters that an IA5String cannot hold", r.name, a.Value)
	case r.max == 2 && strings.ContainsFunc(a.Value, func(c rune) bool { return c < 'A' || c > 'Z' }):
		return fmt.Errorf("%s: %q is not an ISO 3166 country code of two capital letters", r.name, a.Value)
	}
	return nil
}

// checkText refuses what a person would not see: control and format characters,
// blanks other than the plain one, blanks at either end.
func checkText(s string) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%q is not valid UTF-8", s)
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) || c == utf8.RuneError }):
		return fmt.Errorf("%q has a character that does not print, or a blank other than the plain one", s)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("%q begins or ends with a blank", s)
	}
	return nil
}

// printable is the alphabet of PrintableString (X.680, 41.4).
func printable(c rune) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune(" '()+,-./:=?", c)
}

// marshalSubject writes a Name (RFC 5280, 4.1.2.4), one attribute per RDN, in the order given.
func marshalSubject(subject []Attribute) ([]byte, error) {
	var rdns pkix.RDNSequence
	for _, a := range subject {
		if err := a.check(); err != nil {
			return nil, err
		}
		oid, err := parseOID(string(a.Type))
		if err != nil {
			return nil, err
		}
		tag := map[stringForm]int{formUTF8: asn1.TagUTF8String, formPrintable: asn1.TagPrintableString, formIA5: asn1.TagIA5String}[a.Type.rule().form]
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: asn1.RawValue{Tag: tag, Bytes: []byte(a.Value)}}})
	}
	return asn1.Marshal(rdns)
}

// Subject decodes the subject of a parsed certificate or request (its
// Subject.Names), in its order. ErrWrongSubject when a value is not text.
func Subject(name pkix.Name) ([]Attribute, error) {
	var out []Attribute
	for _, atv := range name.Names {
		value, ok := atv.Value.(string)
		if !ok {
			return nil, fmt.Errorf("%w: the value of %s is not text", ErrWrongSubject, atv.Type)
		}
		out = append(out, Attribute{AttributeType(atv.Type.String()), value})
	}
	return out, nil
}

// FormatSubject writes a subject on one line in the order given, for people: "C=CN, O=示例".
func FormatSubject(subject []Attribute) string {
	parts := make([]string, len(subject))
	for i, a := range subject {
		parts[i] = a.String()
	}
	return strings.Join(parts, ", ")
}

// foldWidth turns full-width ASCII variants (U+FF01 to U+FF5E) and the ideographic
// blank into their plain forms. Only to explain a difference, never to accept one.
func foldWidth(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 0xFF01 && c <= 0xFF5E:
			return c - 0xFF01 + '!'
		case c == 0x3000:
			return ' '
		}
		return c
	}, s)
}

// sorted gives a copy in a fixed order.
func sorted(attrs []Attribute) []Attribute {
	out := slices.Clone(attrs)
	slices.SortFunc(out, func(a, b Attribute) int {
		return strings.Compare(string(a.Type)+"="+a.Value, string(b.Type)+"="+b.Value)
	})
	return out
}
