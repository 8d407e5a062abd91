package attestation_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/attestation"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// issuer is a certificate with its key.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate over public; without an issuer it is a root.
func issue(t *testing.T, by *issuer, ca bool, public crypto.PublicKey, name string, extensions ...pkix.Extension) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: ca, BasicConstraintsValid: true, ExtraExtensions: extensions,
	}
	parent := template
	if by.cert != nil {
		parent = by.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func authority(t *testing.T, by *issuer, name string) *issuer {
	t.Helper()
	key := newKey(t)
	if by == nil {
		return &issuer{issue(t, &issuer{key: key}, true, key.Public(), name), key}
	}
	return &issuer{issue(t, by, true, key.Public(), name), key}
}

func extension(t *testing.T, arc int, value []byte) pkix.Extension {
	t.Helper()
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, arc}, Value: value}
}

func number(t *testing.T, n int) []byte {
	t.Helper()
	der, err := asn1.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func object(c *x509.Certificate) pkcs11.Object {
	return pkcs11.Object{Class: pkcs11.ClassCertificate, Label: c.Subject.CommonName, Certificate: c.Raw}
}

func TestYubiKey(t *testing.T) {
	root, otherRoot := authority(t, nil, "sample attestation root"), authority(t, nil, "another root")
	slot := authority(t, root, "slot F9")
	key := newKey(t)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	statement := []pkix.Extension{extension(t, 3, []byte{5, 4, 3}), extension(t, 7, number(t, 12345678))}
	leaf := issue(t, slot, false, key.Public(), "PIV Attestation 9a", statement...)
	stranger := issue(t, slot, false, newKey(t).Public(), "PIV Attestation 9c", statement...)
	unsigned := issue(t, authority(t, otherRoot, "slot F9"), false, key.Public(), "PIV Attestation 9a", statement...)
	nameless := issue(t, slot, false, key.Public(), "PIV Attestation 9a")
	broken := issue(t, slot, false, key.Public(), "PIV Attestation 9a", extension(t, 7, []byte{0xff}))

	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	check := attestation.YubiKey(pool, time.Now)
	for _, row := range []struct {
		name   string
		own    []pkcs11.Object
		serial pkcs11.TokenSerial
		want   error
	}{
		{"right", []pkcs11.Object{object(slot.cert), object(leaf), {Class: pkcs11.ClassData, Label: "else"}}, "12345678", nil},
		{"no objects", nil, "12345678", attestation.ErrMissing},
		{"of another key", []pkcs11.Object{object(slot.cert), object(stranger)}, "12345678", attestation.ErrMissing},
		{"without the slot's certificate", []pkcs11.Object{object(leaf)}, "12345678", attestation.ErrUntrusted},
		{"under another root", []pkcs11.Object{object(slot.cert), object(unsigned)}, "12345678", attestation.ErrUntrusted},
		{"of another token", []pkcs11.Object{object(slot.cert), object(leaf)}, "87654321", attestation.ErrOtherKey},
		{"without a serial number", []pkcs11.Object{object(slot.cert), object(nameless)}, "12345678", attestation.ErrOtherKey},
		{"serial number malformed", []pkcs11.Object{object(slot.cert), object(broken)}, "12345678", attestation.ErrMalformed},
		{"no certificate", []pkcs11.Object{{Class: pkcs11.ClassCertificate, Certificate: []byte{1}}}, "12345678", attestation.ErrMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			said, err := check(row.own, spki, row.serial)
			if !errors.Is(err, row.want) {
				t.Fatalf("error is %v, want %v", err, row.want)
			}
			if err == nil && !strings.Contains(said, "12345678") || err == nil && !strings.Contains(said, "5.4.3") {
				t.Errorf("says %q", said)
			}
		})
	}
}
