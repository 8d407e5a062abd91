// Package attestation checks what a token's maker says about a key: that it was made
// on that token and never was outside it. The attributes of a key are what a module
// claims; an attestation is signed inside the token.
//
// It knows the statements of makers. It must not know how they are read from a token,
// or what a failed check leads to.
package attestation

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Errors, compared with errors.Is.
var (
	ErrMissing   = errors.New("the token shows no attestation of this key")
	ErrUntrusted = errors.New("the attestation does not lead to a root of the maker")
	ErrOtherKey  = errors.New("the attestation is of another token")
	ErrMalformed = errors.New("the attestation is malformed")
)

// YubiKey checks attestations of Yubico's PIV application: a certificate of the key,
// issued inside the token by the certificate of slot F9, which the maker issued. Its
// extensions under 1.3.6.1.4.1.41482.3 name firmware, serial number and policies
// (Yubico, "PIV attestation").
//
// The function that it returns takes the certificates that the token shows of itself,
// the key as DER SubjectPublicKeyInfo and the token's serial, and puts the statement
// into words. ErrMissing, ErrUntrusted, ErrOtherKey, ErrMalformed.
func YubiKey(roots *x509.CertPool, now func() time.Time) func(own []pkcs11.Object, spki []byte, serial pkcs11.TokenSerial) (string, error) {
	return func(own []pkcs11.Object, spki []byte, serial pkcs11.TokenSerial) (string, error) {
		leaf, others, err := find(own, spki)
		if err != nil {
			return "", err
		}
		_, err = leaf.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: others, CurrentTime: now(),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
		return describe(leaf, serial)
	}
}

// find is the certificate of the key; the others may lead from it to a root.
func find(own []pkcs11.Object, spki []byte) (leaf *x509.Certificate, others *x509.CertPool, err error) {
	others = x509.NewCertPool()
	for _, o := range own {
		if o.Class != pkcs11.ClassCertificate {
			continue
		}
		c, err := x509.ParseCertificate(o.Certificate)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("%w: %q: %w", ErrMalformed, o.Label, err)
		case bytes.Equal(c.RawSubjectPublicKeyInfo, spki):
			leaf = c
		default:
			others.AddCert(c)
		}
	}
	if leaf == nil {
		return nil, nil, ErrMissing
	}
	return leaf, others, nil
}

// describe reads the statement and compares the serial number.
func describe(leaf *x509.Certificate, serial pkcs11.TokenSerial) (string, error) {
	firmware, number := "unknown", ""
	for _, e := range leaf.Extensions {
		switch {
		case e.Id.Equal(yubico(3)) && len(e.Value) == 3:
			firmware = fmt.Sprintf("%d.%d.%d", e.Value[0], e.Value[1], e.Value[2])
		case e.Id.Equal(yubico(7)):
			var n int64
			if rest, err := asn1.Unmarshal(e.Value, &n); err != nil || len(rest) > 0 {
				return "", fmt.Errorf("%w: serial number", ErrMalformed)
			}
			number = strconv.FormatInt(n, 10)
		}
	}
	if number != string(serial) {
		return "", fmt.Errorf("%w: it names the serial number %q, the token is %q", ErrOtherKey, number, string(serial))
	}
	return fmt.Sprintf("made on YubiKey %s, firmware %s", number, firmware), nil
}

func yubico(arc int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, arc}
}
