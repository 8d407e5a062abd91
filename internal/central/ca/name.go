package ca

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"

	"github.com/usbkeyd/usbkeyd/csr"
)

// SerialText is a certificate serial number in hexadecimal of its big-endian bytes.
func SerialText(serial *big.Int) string {
	if serial == nil || serial.Sign() <= 0 {
		return "00"
	}
	return hex.EncodeToString(serial.Bytes())
}

// Digest is the SHA-256 of a certificate's DER.
func Digest(cert *x509.Certificate) string { return sum(cert.Raw) }

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// NameText writes a distinguished name as RFC 4514 does: the last RDN first,
// special characters escaped. Types go by the names of package csr.
func NameText(name pkix.Name) string {
	attributes, err := csr.Subject(name)
	if err != nil {
		// A value that is not text; Go's own form writes it as hexadecimal DER.
		return name.String()
	}
	parts := make([]string, 0, len(attributes))
	for i := len(attributes) - 1; i >= 0; i-- {
		parts = append(parts, attributes[i].Type.String()+"="+escape(attributes[i].Value))
	}
	return strings.Join(parts, ",")
}

// escape follows RFC 4514, 2.4.
func escape(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\%02x`, r)
			continue
		case strings.ContainsRune(`"+,;<>\`, r), r == '#' && i == 0, r == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
