package csr

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Expectation is what a returned certificate is measured by.
type Expectation struct {
	// Certificates are what the CA sent, as ParseBundle gave them, in any order.
	Certificates []*x509.Certificate
	// Anchors are the configured trust anchors. A root inside Certificates counts for nothing.
	Anchors []*x509.Certificate
	// SPKI is the DER SubjectPublicKeyInfo of the key that was generated.
	SPKI []byte
	// Request is what was asked for, as CompiledProfile.Request rendered it.
	Request Request
	// Profile is the product's.
	Profile *CompiledProfile
	// Validity is what was ordered.
	Validity Validity
	// Requested is when the request was handed to the CA; notBefore may not lie
	// further before it than the profile's validity tolerance. Zero means Now.
	Requested time.Time
	// Now is the present.
	Now time.Time
}

// Chain is a certificate that passed, and how it reaches a trust anchor.
type Chain struct {
	Leaf *x509.Certificate
	// Intermediates begin with the issuer of the leaf and end below the root.
	Intermediates []*x509.Certificate
	// Root is the trust anchor.
	Root *x509.Certificate
}

// Check finds the certificate for our key among those sent and tells whether it
// is what was ordered. Everything wrong with it is reported together as a
// *MismatchError. An incomplete Expectation is an error of another kind, for it is
// the caller's mistake.
func Check(e Expectation) (*Chain, error) {
	key, err := e.complete()
	if err != nil {
		return nil, err
	}
	leaf, problem := chooseLeaf(e.Certificates, key)
	if problem != nil {
		return nil, &MismatchError{[]Problem{*problem}}
	}
	var problems []Problem
	problems = append(problems, checkForm(leaf)...)
	problems = append(problems, checkSubject(e, leaf)...)
	problems = append(problems, checkNames(e, leaf)...)
	problems = append(problems, checkUsage(e.Profile, leaf)...)
	problems = append(problems, checkValidity(e, leaf)...)
	chain, chainProblems := buildChain(e, leaf)
	problems = append(problems, chainProblems...)
	if len(problems) > 0 {
		return nil, &MismatchError{problems}
	}
	return chain, nil
}

func (e Expectation) complete() (crypto.PublicKey, error) {
	switch {
	case e.Profile == nil:
		return nil, fmt.Errorf("check certificate: no profile given")
	case len(e.Anchors) == 0:
		return nil, fmt.Errorf("check certificate: no trust anchors given")
	case len(e.Request.Subject) == 0:
		return nil, fmt.Errorf("check certificate: no expected subject given")
	case e.Now.IsZero():
		return nil, fmt.Errorf("check certificate: no time given")
	case e.Validity.Years < 0 || e.Validity.Days < 0 || e.Validity == Validity{}:
		return nil, fmt.Errorf("check certificate: no ordered validity given")
	}
	key, err := x509.ParsePKIXPublicKey(e.SPKI)
	if err != nil {
		return nil, fmt.Errorf("check certificate: expected public key: %w", err)
	}
	return key, nil
}

// chooseLeaf goes by public key, not by position.
func chooseLeaf(certs []*x509.Certificate, key crypto.PublicKey) (*x509.Certificate, *Problem) {
	var found []*x509.Certificate
	for _, c := range certs {
		if samePublicKey(c.PublicKey, key) && !containsCertificate(found, c) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil, &Problem{Reason: ErrWrongKey, Field: "publicKey", Want: "a certificate for the key on this token",
			Got: fmt.Sprintf("%d certificates for other keys", len(certs))}
	case 1:
		return found[0], nil
	}
	serials := make([]string, len(found))
	for i, c := range found {
		serials[i] = fmt.Sprintf("%x", c.SerialNumber)
	}
	return nil, &Problem{Reason: ErrAmbiguousLeaf, Field: "publicKey", Want: "one certificate for the key on this token",
		Got: fmt.Sprintf("%d with serial numbers %s", len(found), strings.Join(serials, ", "))}
}

// checkForm looks at what RFC 5280 asks of every certificate.
func checkForm(leaf *x509.Certificate) []Problem {
	var out []Problem
	if n := leaf.SerialNumber; n.Sign() <= 0 || n.BitLen() > 20*8-1 {
		// RFC 5280, 4.1.2.2: positive and at most 20 octets, the sign bit among them.
		out = append(out, Problem{Reason: ErrWrongSerial, Field: "serialNumber", Want: "positive, at most 20 octets", Got: fmt.Sprintf("%x", n)})
	}
	if !strongSignature(leaf.SignatureAlgorithm) {
		out = append(out, Problem{Reason: ErrWeakSignature, Field: "signatureAlgorithm", Want: "SHA-256 or stronger", Got: leaf.SignatureAlgorithm.String()})
	}
	for _, oid := range leaf.UnhandledCriticalExtensions {
		out = append(out, Problem{Reason: ErrCriticalExtension, Field: "extensions", Want: "none that is unknown and critical", Got: oid.String()})
	}
	return out
}

// checkSubject compares multisets of (type, decoded string).
func checkSubject(e Expectation, leaf *x509.Certificate) []Problem {
	got, err := Subject(leaf.Subject)
	if err != nil {
		return []Problem{{Reason: ErrWrongSubject, Field: "subject", Want: "text", Got: err.Error()}}
	}
	var out []Problem
	var missing []Attribute
	rest := sorted(got)
	for _, want := range e.Request.Subject {
		if i := slices.Index(rest, want); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			missing = append(missing, want)
		}
	}
	for _, want := range missing {
		p := Problem{Reason: ErrWrongSubject, Field: "subject." + want.Type.String(), Want: quote(want.Value), Got: "none"}
		// Pair it with a leftover of the same type, so that a change is told as one problem.
		if i := slices.IndexFunc(rest, func(a Attribute) bool { return a.Type == want.Type }); i >= 0 {
			p.Got, p.Note = quote(rest[i].Value), explain(want.Value, rest[i].Value)
			rest = slices.Delete(rest, i, i+1)
		}
		out = append(out, p)
	}
	for _, a := range rest {
		switch {
		case slices.Contains(e.Profile.forbidden, a.Type):
			out = append(out, Problem{Reason: ErrWrongSubject, Field: "subject." + a.Type.String(), Want: "none: it is forbidden", Got: quote(a.Value)})
		case !slices.Contains(e.Profile.mayAdd, a.Type):
			out = append(out, Problem{Reason: ErrWrongSubject, Field: "subject." + a.Type.String(), Want: "nothing added by the CA", Got: quote(a.Value)})
		}
	}
	return out
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

// explain names a difference that eyes pass over.
func explain(want, got string) string {
	switch {
	case foldWidth(want) == foldWidth(got):
		return "they differ in full-width and half-width characters only, which are not the same here"
	case strings.EqualFold(want, got):
		return "they differ in upper and lower case only"
	case strings.Join(strings.Fields(want), "") == strings.Join(strings.Fields(got), ""):
		return "they differ in blanks only"
	}
	return ""
}

// checkNames compares the subject alternative name: the e-mail addresses that
// were asked for and nothing else.
func checkNames(e Expectation, leaf *x509.Certificate) []Problem {
	var out []Problem
	want, got := slices.Sorted(slices.Values(e.Request.Emails)), slices.Sorted(slices.Values(leaf.EmailAddresses))
	if !slices.Equal(want, got) {
		out = append(out, Problem{Reason: ErrWrongNames, Field: "subjectAltName.email", Want: list(want), Got: list(got)})
	}
	if others := otherNames(leaf); len(others) > 0 {
		out = append(out, Problem{Reason: ErrWrongNames, Field: "subjectAltName", Want: "e-mail addresses only", Got: list(others)})
	}
	return out
}

// otherNames lists the GeneralNames (RFC 5280, 4.2.1.6) that are no rfc822Name,
// those that Go leaves unread among them.
func otherNames(leaf *x509.Certificate) []string {
	kinds := []string{"otherName", "rfc822Name", "dNSName", "x400Address", "directoryName", "ediPartyName", "uniformResourceIdentifier", "iPAddress", "registeredID"}
	var out []string
	for _, ext := range leaf.Extensions {
		if !ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(ext.Value, &names); err != nil {
			return []string{"unreadable"}
		}
		for _, n := range names {
			switch {
			case n.Class != asn1.ClassContextSpecific || n.Tag >= len(kinds):
				out = append(out, "unknown kind")
			case n.Tag != 1:
				out = append(out, kinds[n.Tag])
			}
		}
	}
	return out
}

func list(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	return strings.Join(items, ", ")
}
