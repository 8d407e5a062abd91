package cryptoki

import (
	"bytes"
	"crypto/x509"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

func TestParseCertificateNames(t *testing.T) {
	der := pkcs11test.Certificate(t, "common name")
	want, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := parseCertificateNames(der)
	if !ok || !bytes.Equal(got.subject, want.RawSubject) || !bytes.Equal(got.issuer, want.RawIssuer) {
		t.Errorf("names are %+v, %t", got, ok)
	}
	// CKA_SERIAL_NUMBER is the DER of the INTEGER, with its sign octet.
	if serial := want.SerialNumber.Bytes(); !bytes.Equal(got.serial, append([]byte{0x02, byte(len(serial) + 1), 0x00}, serial...)) {
		t.Errorf("serial is %x", got.serial)
	}
}

func FuzzParseCertificateNames(f *testing.F) {
	f.Add(pkcs11test.Certificate(f, "seed"))
	f.Add([]byte{0x30, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		got, ok := parseCertificateNames(der)
		want, err := x509.ParseCertificate(der)
		if err != nil {
			return // we are laxer: keys and signatures are not looked at
		}
		if !ok || !bytes.Equal(got.subject, want.RawSubject) || !bytes.Equal(got.issuer, want.RawIssuer) {
			t.Errorf("names are %+v, %t, want %x by %x", got, ok, want.RawSubject, want.RawIssuer)
		}
	})
}
