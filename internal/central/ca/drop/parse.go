package drop

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/usbkeyd/usbkeyd/csr"
)

const (
	// maxFile bounds an answer: a bundle in PEM.
	maxFile = 2 * csr.MaxBundle
	// maxReason is how much of a refusal's text is kept.
	maxReason = 500
)

// errNotAnswer says that a file is not whole, or not what its name says.
var errNotAnswer = errors.New("not a whole certificate or certs-only PKCS#7")

// parseAnswer reads certificates as CAs hand them out: a certs-only PKCS#7 or a
// certificate in DER, or the same in PEM (RFC 7468, 5 and 8), certificates then
// one after the other. A file that ends too early is an error.
func parseAnswer(data []byte) ([]*x509.Certificate, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n\ufeff"), []byte("-----BEGIN")) {
		if cert, err := x509.ParseCertificate(data); err == nil {
			return []*x509.Certificate{cert}, nil
		}
		certs, err := csr.ParseBundle(data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNotAnswer, err)
		}
		return certs, nil
	}
	var out []*x509.Certificate
	for rest := data; ; {
		block, after := pem.Decode(rest)
		switch {
		case block == nil && len(out) > 0 && len(bytes.TrimSpace(rest)) == 0:
			return out, nil
		case block == nil:
			return nil, fmt.Errorf("%w: the PEM text does not end as it should", errNotAnswer)
		case len(out) >= csr.MaxBundleCertificates:
			return nil, fmt.Errorf("%w: more than %d certificates", errNotAnswer, csr.MaxBundleCertificates)
		}
		var certs []*x509.Certificate
		var err error
		switch block.Type {
		case "CERTIFICATE":
			var cert *x509.Certificate
			cert, err = x509.ParseCertificate(block.Bytes)
			certs = []*x509.Certificate{cert}
		case "PKCS7", "CMS":
			certs, err = csr.ParseBundle(block.Bytes)
		default:
			err = fmt.Errorf("a PEM block of type %q", block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNotAnswer, err)
		}
		out, rest = append(out, certs...), after
	}
}

// parseRefusal makes the text of a refusal fit for one line.
func parseRefusal(data []byte) string {
	text := strings.TrimPrefix(strings.ToValidUTF8(string(data), "?"), "\ufeff")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(text); len(runes) > maxReason {
		text = string(runes[:maxReason]) + "…"
	}
	if text == "" {
		return "the offline CA gave no reason"
	}
	return text
}
