package csr

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// AttributeTemplate is one attribute of a product's subject.
type AttributeTemplate struct {
	// Type is a known name (see ParseAttributeType) or a dotted OID. A type may be repeated.
	Type string
	// Value is a template, see Text.
	Value string
	// Optional leaves the attribute out when its value renders empty; otherwise that is an error.
	Optional bool
}

// SubjectTemplate is a subject in the order in which it is written.
type SubjectTemplate []AttributeTemplate

// Profile is what a product expects of its certificate, as an operator writes
// it. Compile makes it usable.
type Profile struct {
	Subject SubjectTemplate
	// EmailSAN is a template for an rfc822Name in the subject alternative name; "" for none.
	EmailSAN string
	// EmailSANOptional leaves the name out when it renders empty; otherwise that is an error.
	EmailSANOptional bool
	// MayAdd are attribute types that the CA may add to the subject.
	MayAdd []string
	// Forbidden are attribute types that must not appear. Whatever is neither in
	// Subject nor in MayAdd is refused anyway; naming it here gives a plainer
	// message and keeps MayAdd from ever allowing it.
	Forbidden []string
	// KeyUsage names the exact key usage, see KeyUsages.
	KeyUsage []string
	// ExtKeyUsage names the exact extended key usage, see ExtKeyUsages, or dotted OIDs.
	ExtKeyUsage []string
	// ValidityTolerance is how far notAfter may be from the ordered end, and how
	// long before the request notBefore may lie. 0 to 31 days.
	ValidityTolerance time.Duration
	// ClockTolerance is how far in the future notBefore may lie. 0 to 24 hours.
	ClockTolerance time.Duration
}

// Validity is how long a certificate was ordered for, counted from its notBefore
// in calendar years and days.
type Validity struct {
	Years, Days int
}

// String is for people.
func (v Validity) String() string {
	switch {
	case v.Days == 0:
		return fmt.Sprintf("%d years", v.Years)
	case v.Years == 0:
		return fmt.Sprintf("%d days", v.Days)
	}
	return fmt.Sprintf("%d years and %d days", v.Years, v.Days)
}

// KeyUsages maps the names of RFC 5280, 4.2.1.3 to Go's bits. contentCommitment
// is what nonRepudiation was renamed to; both names are taken.
func KeyUsages() map[string]x509.KeyUsage {
	return map[string]x509.KeyUsage{
		"digitalSignature":  x509.KeyUsageDigitalSignature,
		"contentCommitment": x509.KeyUsageContentCommitment,
		"nonRepudiation":    x509.KeyUsageContentCommitment,
		"keyEncipherment":   x509.KeyUsageKeyEncipherment,
		"dataEncipherment":  x509.KeyUsageDataEncipherment,
		"keyAgreement":      x509.KeyUsageKeyAgreement,
		"encipherOnly":      x509.KeyUsageEncipherOnly,
		"decipherOnly":      x509.KeyUsageDecipherOnly,
	}
}

// ExtKeyUsages maps names to the OIDs of RFC 5280, 4.2.1.12, and Microsoft's for smart card logon.
func ExtKeyUsages() map[string]string {
	return map[string]string{
		"clientAuth":      "1.3.6.1.5.5.7.3.2",
		"codeSigning":     "1.3.6.1.5.5.7.3.3",
		"emailProtection": "1.3.6.1.5.5.7.3.4",
		"timeStamping":    "1.3.6.1.5.5.7.3.8",
		"documentSigning": "1.3.6.1.5.5.7.3.36", // RFC 9336
		"smartcardLogon":  "1.3.6.1.4.1.311.20.2.2",
	}
}

// CompiledProfile is a Profile that was found usable.
type CompiledProfile struct {
	subject       []compiledAttribute
	email         *Text // nil for none
	emailOptional bool
	mayAdd        []AttributeType
	forbidden     []AttributeType
	keyUsage      x509.KeyUsage
	extKeyUsage   []string // OIDs, sorted
	validity      time.Duration
	clock         time.Duration
}

type compiledAttribute struct {
	kind     AttributeType
	value    *Text
	optional bool
}

// Compile checks the whole profile: types are known, templates parse, and what
// they render for SampleData stands in a subject. It returns every fault found,
// joined, each a *FieldError.
func (p Profile) Compile() (*CompiledProfile, error) {
	var errs []error
	fault := func(err error, field string, args ...any) {
		if err != nil {
			errs = append(errs, &FieldError{fmt.Sprintf(field, args...), err})
		}
	}
	c := &CompiledProfile{emailOptional: p.EmailSANOptional, validity: p.ValidityTolerance, clock: p.ClockTolerance}
	var err error

	if len(p.Subject) == 0 {
		fault(errors.New("a certificate needs a subject"), "subject")
	}
	if len(p.Subject) > maxAttributes {
		fault(fmt.Errorf("%d attributes, at most %d are allowed", len(p.Subject), maxAttributes), "subject")
	}
	for i, t := range p.Subject {
		a := compiledAttribute{optional: t.Optional}
		a.kind, err = ParseAttributeType(t.Type)
		fault(err, "subject[%d].type", i)
		known := err == nil
		a.value, err = CompileText(t.Value)
		if err == nil && known {
			_, _, err = a.render(SampleData())
		}
		fault(err, "subject[%d].value", i)
		c.subject = append(c.subject, a)
	}
	if p.EmailSAN != "" {
		c.email, err = CompileText(p.EmailSAN)
		fault(err, "emailSan")
		if err == nil {
			_, err = c.renderEmails(SampleData())
			fault(err, "emailSan")
		}
	}
	c.mayAdd = parseTypes(p.MayAdd, "mayAdd", fault)
	c.forbidden = parseTypes(p.Forbidden, "forbidden", fault)
	for i, t := range c.forbidden {
		if slices.Contains(c.mayAdd, t) || slices.ContainsFunc(c.subject, func(a compiledAttribute) bool { return a.kind == t }) {
			fault(fmt.Errorf("%s is also in subject or mayAdd: leave it out in one place", t), "forbidden[%d]", i)
		}
	}
	p.compileUsages(c, fault)
	if p.ValidityTolerance < 0 || p.ValidityTolerance > maxValidityTolerance {
		fault(fmt.Errorf("%s is not between 0 and %s", p.ValidityTolerance, maxValidityTolerance), "validityTolerance")
	}
	if p.ClockTolerance < 0 || p.ClockTolerance > maxClockTolerance {
		fault(fmt.Errorf("%s is not between 0 and %s", p.ClockTolerance, maxClockTolerance), "clockTolerance")
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

const (
	maxAttributes        = 32
	maxValidityTolerance = 31 * 24 * time.Hour
	maxClockTolerance    = 24 * time.Hour
)

func (p Profile) compileUsages(c *CompiledProfile, fault func(error, string, ...any)) {
	if len(p.KeyUsage) == 0 {
		fault(errors.New("name at least one usage"), "keyUsage")
	}
	for i, name := range p.KeyUsage {
		bit, ok := KeyUsages()[name]
		switch {
		case !ok:
			fault(fmt.Errorf("unknown key usage %q: use one of %s", name, known(KeyUsages())), "keyUsage[%d]", i)
		case c.keyUsage&bit != 0:
			fault(fmt.Errorf("%q is given twice", name), "keyUsage[%d]", i)
		}
		c.keyUsage |= bit
	}
	for i, name := range p.ExtKeyUsage {
		oid, ok := ExtKeyUsages()[name]
		if !ok {
			if _, err := parseOID(name); err != nil {
				fault(fmt.Errorf("unknown extended key usage %q: use a dotted OID or one of %s", name, known(ExtKeyUsages())), "extKeyUsage[%d]", i)
				continue
			}
			oid = name
		}
		if oid == "2.5.29.37.0" {
			// RFC 5280, 4.2.1.12: anyExtendedKeyUsage would make every other entry moot.
			fault(errors.New("anyExtendedKeyUsage is not allowed"), "extKeyUsage[%d]", i)
		}
		if slices.Contains(c.extKeyUsage, oid) {
			fault(fmt.Errorf("%q is given twice", name), "extKeyUsage[%d]", i)
		}
		c.extKeyUsage = append(c.extKeyUsage, oid)
	}
	slices.Sort(c.extKeyUsage)
}

// known are the names that a table has.
func known[T any](names map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

func parseTypes(names []string, field string, fault func(error, string, ...any)) []AttributeType {
	var out []AttributeType
	for i, name := range names {
		t, err := ParseAttributeType(name)
		if err == nil && slices.Contains(out, t) {
			err = fmt.Errorf("%q is given twice", name)
		}
		fault(err, "%s[%d]", field, i)
		out = append(out, t)
	}
	return out
}

// render gives the attribute, or false when it is optional and empty.
func (a compiledAttribute) render(data SubjectData) (Attribute, bool, error) {
	value, err := a.value.Render(data)
	if err != nil {
		return Attribute{}, false, err
	}
	if value == "" {
		if a.optional {
			return Attribute{}, false, nil
		}
		return Attribute{}, false, fmt.Errorf("%s is empty and not optional", a.kind)
	}
	out := Attribute{a.kind, value}
	return out, true, out.check()
}

func (c *CompiledProfile) renderEmails(data SubjectData) ([]string, error) {
	if c.email == nil {
		return nil, nil
	}
	email, err := c.email.Render(data)
	switch {
	case err != nil:
		return nil, err
	case email == "" && c.emailOptional:
		return nil, nil
	case email == "":
		return nil, errors.New("the e-mail address is empty and not optional")
	}
	return []string{email}, checkEmail(email)
}

// checkEmail takes a bare ASCII addr-spec: RFC 5280, 4.2.1.6, rfc822Name is an IA5String.
func checkEmail(s string) error {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || a.Name != "" || len(s) > 254 || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return fmt.Errorf("%q is not a plain ASCII e-mail address", s)
	}
	return nil
}

// Request renders the profile for one unit. It touches nothing, so it can be
// done when an order arrives, long before a token is. Every fault is
// reported, joined; errors.Is finds ErrBadOrder.
func (c *CompiledProfile) Request(data SubjectData) (Request, error) {
	var r Request
	var errs []error
	for i, t := range c.subject {
		a, present, err := t.render(data)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%w: subject[%d]: %w", ErrBadOrder, i, err))
		case present && slices.Contains(r.Subject, a):
			errs = append(errs, fmt.Errorf("%w: subject[%d]: %s is there twice", ErrBadOrder, i, a))
		case present:
			r.Subject = append(r.Subject, a)
		}
	}
	emails, err := c.renderEmails(data)
	if err != nil {
		errs = append(errs, fmt.Errorf("%w: emailSan: %w", ErrBadOrder, err))
	}
	r.Emails = emails
	if len(errs) > 0 {
		return Request{}, errors.Join(errs...)
	}
	return r, nil
}
