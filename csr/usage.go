package csr

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkUsage compares key usage, extended key usage and basic constraints.
func checkUsage(p *CompiledProfile, leaf *x509.Certificate) []Problem {
	var out []Problem
	if leaf.KeyUsage != p.keyUsage {
		out = append(out, Problem{Reason: ErrWrongUsage, Field: "keyUsage", Want: keyUsageNames(p.keyUsage), Got: keyUsageNames(leaf.KeyUsage)})
	}
	got, err := extKeyUsageOIDs(leaf)
	if err != nil {
		out = append(out, Problem{Reason: ErrWrongUsage, Field: "extKeyUsage", Want: list(extKeyUsageNames(p.extKeyUsage)), Got: err.Error()})
	} else if !slices.Equal(got, p.extKeyUsage) {
		out = append(out, Problem{Reason: ErrWrongUsage, Field: "extKeyUsage", Want: list(extKeyUsageNames(p.extKeyUsage)), Got: list(extKeyUsageNames(got))})
	}
	if leaf.BasicConstraintsValid && leaf.IsCA {
		out = append(out, Problem{Reason: ErrWrongUsage, Field: "basicConstraints", Want: "CA:false", Got: "CA:true"})
	}
	return out
}

func keyUsageNames(u x509.KeyUsage) string {
	// In the order of the bits of RFC 5280, 4.2.1.3.
	names := []string{"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"}
	var set []string
	for i, name := range names {
		if u&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return list(set)
}

// extKeyUsageOIDs reads the extension itself: Go's two lists lose unnamed order
// and would need a table back to OIDs.
func extKeyUsageOIDs(leaf *x509.Certificate) ([]string, error) {
	var out []string
	for _, ext := range leaf.Extensions {
		if !ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) {
			continue
		}
		var oids []asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(ext.Value, &oids); err != nil {
			return nil, fmt.Errorf("unreadable: %w", err)
		}
		for _, oid := range oids {
			out = append(out, oid.String())
		}
	}
	slices.Sort(out)
	return out, nil
}

func extKeyUsageNames(oids []string) []string {
	out := make([]string, len(oids))
	for i, oid := range oids {
		out[i] = oid
		for name, known := range ExtKeyUsages() {
			if known == oid {
				out[i] = name
			}
		}
	}
	slices.Sort(out)
	return out
}

// checkValidity compares the certificate's dates with the order and the present.
func checkValidity(e Expectation, leaf *x509.Certificate) []Problem {
	var out []Problem
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	requested := e.Requested
	if requested.IsZero() {
		requested = e.Now
	}
	if latest := e.Now.Add(e.Profile.clock); leaf.NotBefore.After(latest) {
		out = append(out, Problem{Reason: ErrWrongValidity, Field: "validity.notBefore", Want: "no later than " + stamp(latest), Got: stamp(leaf.NotBefore)})
	}
	if earliest := requested.Add(-e.Profile.validity); leaf.NotBefore.Before(earliest) {
		out = append(out, Problem{Reason: ErrWrongValidity, Field: "validity.notBefore", Want: "no earlier than " + stamp(earliest), Got: stamp(leaf.NotBefore)})
	}
	if e.Now.After(leaf.NotAfter) {
		out = append(out, Problem{Reason: ErrExpired, Field: "validity.notAfter", Want: "after " + stamp(e.Now), Got: stamp(leaf.NotAfter)})
	}
	end := leaf.NotBefore.UTC().AddDate(e.Validity.Years, 0, e.Validity.Days)
	if off := leaf.NotAfter.Sub(end).Abs(); off > e.Profile.validity {
		out = append(out, Problem{Reason: ErrWrongValidity, Field: "validity.notAfter", Got: stamp(leaf.NotAfter),
			Want: fmt.Sprintf("%s from notBefore, that is %s within %s", e.Validity, stamp(end), e.Profile.validity)})
	}
	return out
}

// buildChain finds the way from the leaf to a configured anchor.
func buildChain(e Expectation, leaf *x509.Certificate) (*Chain, []Problem) {
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range e.Anchors {
		roots.AddCert(c)
	}
	for _, c := range e.Certificates {
		if !c.Equal(leaf) {
			others.AddCert(c)
		}
	}
	// Dates of the leaf and its unknown critical extensions have problems of their
	// own; here they must not hide whether the issuer is trusted.
	subject := *leaf
	subject.UnhandledCriticalExtensions = nil
	opts := x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: within(e.Now, leaf), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	chains, err := subject.Verify(opts)
	if err != nil {
		return nil, []Problem{chainProblem(err)}
	}
	for _, usage := range leaf.ExtKeyUsage {
		// The issuers must allow each usage, not merely one of them.
		opts.KeyUsages = []x509.ExtKeyUsage{usage}
		if _, err := subject.Verify(opts); err != nil {
			return nil, []Problem{{Reason: ErrWrongUsage, Field: "chain", Want: "issuers that allow every extended key usage of the certificate", Got: err.Error()}}
		}
	}
	best := slices.MinFunc(chains, func(a, b []*x509.Certificate) int { return len(a) - len(b) })
	last := len(best) - 1
	if last == 0 {
		return nil, []Problem{{Reason: ErrUntrusted, Field: "chain", Want: "a certificate below a trust anchor", Got: "the trust anchor itself"}}
	}
	return &Chain{Leaf: leaf, Intermediates: slices.Clone(best[1:last]), Root: best[last]}, nil
}

// within moves t into the leaf's validity.
func within(t time.Time, leaf *x509.Certificate) time.Time {
	switch {
	case t.Before(leaf.NotBefore):
		return leaf.NotBefore
	case t.After(leaf.NotAfter):
		return leaf.NotAfter
	}
	return t
}

func chainProblem(err error) Problem {
	p := Problem{Reason: ErrUntrusted, Field: "chain", Want: "a chain to a configured trust anchor", Got: strings.TrimPrefix(err.Error(), "x509: ")}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil {
		p.Reason, p.Want = ErrExpired, "issuers that are valid now"
	}
	return p
}
