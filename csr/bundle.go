package csr

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"strings"

	"go.mozilla.org/pkcs7"
)

// Limits of a bundle.
const (
	// MaxBundle is the size limit of a PKCS#7 in bytes.
	MaxBundle = 256 << 10
	// MaxBundleCertificates is how many certificates it may hold.
	MaxBundleCertificates = 20
)

// contentInfo and signedData follow RFC 5652, sections 3 and 5.1.
type contentInfo struct {
	ContentType asn1.ObjectIdentifier
	Content     asn1.RawValue `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version          int
	DigestAlgorithms asn1.RawValue
	EncapContentInfo asn1.RawValue
	Certificates     asn1.RawValue `asn1:"optional,tag:0"`
	CRLs             asn1.RawValue `asn1:"optional,tag:1"`
	SignerInfos      asn1.RawValue
}

// ParseBundle reads a certs-only PKCS#7 (a CMS SignedData, RFC 5652, section 5;
// the Simple PKI Response of RFC 5272, section 4.1, that RFC 7030, section 4.1.3,
// returns) in DER. It gives the certificates in the order of the file, without
// repeats; which of them is the leaf is not a matter of position, see Check.
//
// A message with signers or content is refused: both are absent by the RFCs
// above, and a signature that nobody verifies only looks like assurance. CRLs are
// allowed there and left unread. Errors are ErrBadBundle with a sentence for
// what was sent instead.
func ParseBundle(p7 []byte) ([]*x509.Certificate, error) {
	bad := func(format string, args ...any) ([]*x509.Certificate, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrBadBundle}, args...)...)
	}
	if len(p7) > MaxBundle {
		return bad("%d bytes, at most %d are allowed", len(p7), MaxBundle)
	}
	if what := notDER(p7); what != "" {
		return bad("%s", what)
	}
	var outer contentInfo
	if rest, err := asn1.Unmarshal(p7, &outer); err != nil {
		if _, certErr := x509.ParseCertificate(p7); certErr == nil {
			return bad("this is a bare certificate")
		}
		return bad("ContentInfo: %w", err)
	} else if len(rest) > 0 {
		return bad("%d bytes after its end", len(rest))
	}
	if !outer.ContentType.Equal(pkcs7.OIDSignedData) {
		return bad("content type %s is not SignedData", outer.ContentType)
	}
	var sd signedData
	if rest, err := asn1.Unmarshal(outer.Content.Bytes, &sd); err != nil {
		return bad("SignedData: %w", err)
	} else if len(rest) > 0 {
		return bad("SignedData: %d bytes after its end", len(rest))
	}
	if !isUniversal(sd.SignerInfos, asn1.TagSet) || !isUniversal(sd.DigestAlgorithms, asn1.TagSet) || !isUniversal(sd.EncapContentInfo, asn1.TagSequence) {
		return bad("SignedData is not built as RFC 5652, section 5.1, says")
	}
	if len(sd.SignerInfos.Bytes) > 0 {
		return bad("it is signed; a certs-only message has no signers")
	}
	var contentType asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(sd.EncapContentInfo.Bytes, &contentType); err != nil {
		return bad("content: %w", err)
	} else if len(rest) > 0 {
		return bad("it has content; a certs-only message has none")
	}
	return bundleCertificates(sd.Certificates.Bytes)
}

func bundleCertificates(set []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for n := 1; len(set) > 0; n++ {
		if n > MaxBundleCertificates {
			return nil, fmt.Errorf("%w: more than %d certificates", ErrBadBundle, MaxBundleCertificates)
		}
		var raw asn1.RawValue
		rest, err := asn1.Unmarshal(set, &raw)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrBadBundle, n, err)
		}
		if !isUniversal(raw, asn1.TagSequence) {
			// RFC 5652, 10.2.2: the tagged choices are obsolete or attribute certificates.
			return nil, fmt.Errorf("%w: certificate %d is not an X.509 certificate", ErrBadBundle, n)
		}
		cert, err := x509.ParseCertificate(raw.FullBytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrBadBundle, n, err)
		}
		set = rest
		if !containsCertificate(certs, cert) {
			certs = append(certs, cert)
		}
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: it holds no certificates", ErrBadBundle)
	}
	return certs, nil
}

// notDER says in words what was sent instead of DER, or "".
func notDER(data []byte) string {
	text := bytes.ToLower(bytes.TrimLeft(data[:min(len(data), 512)], " \t\r\n\ufeff"))
	switch {
	case len(data) == 0:
		return "nothing was sent"
	case bytes.HasPrefix(text, []byte("<")):
		return "this is HTML or XML, perhaps an error page"
	case bytes.HasPrefix(text, []byte("{")), bytes.HasPrefix(text, []byte("[")):
		return "this is JSON"
	case bytes.HasPrefix(text, []byte("-----begin")):
		return "this is PEM; DER is wanted"
	case bytes.HasPrefix(text, []byte("mi")):
		return "this is base64; DER is wanted"
	case data[0] != 0x30:
		return "this is not ASN.1"
	case len(data) > 1 && data[1] == 0x80:
		return "this is BER of indefinite length; DER is wanted (Bouncy Castle: getEncoded(\"DER\"))"
	}
	return ""
}

func isUniversal(v asn1.RawValue, tag int) bool {
	return v.Class == asn1.ClassUniversal && v.Tag == tag && v.IsCompound
}

func containsCertificate(certs []*x509.Certificate, cert *x509.Certificate) bool {
	for _, c := range certs {
		if c.Equal(cert) {
			return true
		}
	}
	return false
}

// DecodeBundleBase64 takes the base64 body of an EST answer (RFC 7030, section
// 4.2.3; RFC 8951 says what blanks may stand in it) and parses it as ParseBundle does.
func DecodeBundleBase64(body []byte) ([]*x509.Certificate, error) {
	if len(body) > 2*MaxBundle {
		return nil, fmt.Errorf("%w: %d bytes of base64", ErrBadBundle, len(body))
	}
	compact := strings.Map(func(c rune) rune {
		if strings.ContainsRune(" \t\r\n", c) {
			return -1
		}
		return c
	}, string(body))
	der, err := base64.StdEncoding.Strict().DecodeString(compact)
	if err != nil {
		what := notDER(body)
		if what == "" || strings.Contains(what, "base64") {
			what = err.Error()
		}
		return nil, fmt.Errorf("%w: base64: %s", ErrBadBundle, what)
	}
	return ParseBundle(der)
}

// EncodeBundle writes the certificates as a certs-only PKCS#7 in DER, in the order given.
func EncodeBundle(certs []*x509.Certificate) ([]byte, error) {
	if len(certs) == 0 || len(certs) > MaxBundleCertificates {
		return nil, fmt.Errorf("%w: %d certificates, 1 to %d are possible", ErrBadBundle, len(certs), MaxBundleCertificates)
	}
	var all []byte
	for _, c := range certs {
		all = append(all, c.Raw...)
	}
	der, err := pkcs7.DegenerateCertificate(all)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadBundle, err)
	}
	return der, nil
}
