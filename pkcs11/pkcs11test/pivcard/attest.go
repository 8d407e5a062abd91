package pivcard

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// Maker is the virtual maker of cards: the root of their attestations.
type Maker struct {
	// Root is the certificate that attestations lead to.
	Root *x509.Certificate
	key  crypto.Signer
}

// NewMaker makes a root of its own.
func NewMaker() (*Maker, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	m := &Maker{key: key}
	m.Root, err = issue(nil, key, key.Public(), "Virtual PIV Root CA", true, nil)
	return m, err
}

// attester makes the key and certificate of a card's slot F9.
func (m *Maker) attester(serial uint32) (crypto.Signer, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	c, err := issue(m.Root, m.key, key.Public(), fmt.Sprintf("Virtual PIV Attestation %d", serial), true, nil)
	return key, c, err
}

// issue makes a certificate; without a parent it is its own.
func issue(parent *x509.Certificate, by crypto.Signer, public crypto.PublicKey, name string, ca bool, extensions []pkix.Extension) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
		IsCA: ca, BasicConstraintsValid: ca, ExtraExtensions: extensions,
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// attestation is Yubico's ATTEST: a certificate of a key that was generated here, with
// firmware, serial number and policies as extensions (Yubico, "PIV attestation").
func (c *Card) attestation(ref byte) ([]byte, uint16) {
	s := c.slots[ref]
	if s == nil {
		return nil, swNoReference
	}
	serial, err := asn1.Marshal(int64(c.Serial))
	if err != nil {
		return nil, swConditions
	}
	extension := func(arc int, value ...byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, arc}, Value: value}
	}
	const once, never = 2, 1
	cert, err := issue(c.attest, c.attester, s.key.Public(), fmt.Sprintf("YubiKey PIV Attestation %x", ref), false, []pkix.Extension{
		extension(3, version()...), extension(7, serial...), extension(8, once, never),
	})
	if err != nil {
		return nil, swConditions
	}
	return cert.Raw, swOK
}

// wrapCertificate is how a certificate is kept in a data object (SP 800-73-4, part 1,
// table 10): the certificate, that it is not compressed, and an empty error code.
func wrapCertificate(der []byte) []byte {
	return append(tlv("\x70", der...), append(tlv("\x71", 0), tlv("\xfe")...)...)
}
