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
	name := pkix.Name{CommonName: "Virtual PIV Attestation Root"}
	template, err := certificate(name, time.Now().Add(-24*time.Hour), time.Now().AddDate(20, 0, 0))
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	m := &Maker{key: key}
	m.Root, err = issue(template, template, key.Public(), key)
	return m, err
}

// attester makes the key and certificate of a card's slot F9.
func (m *Maker) attester(serial uint32) (crypto.Signer, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	name := pkix.Name{CommonName: fmt.Sprintf("Virtual PIV Attestation %d", serial)}
	template, err := certificate(name, m.Root.NotBefore, m.Root.NotAfter)
	if err != nil {
		return nil, nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	c, err := issue(template, m.Root, key.Public(), m.key)
	return key, c, err
}

// certificate is a template with a random serial number.
func certificate(subject pkix.Name, notBefore, notAfter time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: subject, NotBefore: notBefore, NotAfter: notAfter}, nil
}

func issue(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// attestation is Yubico's ATTEST: a certificate of a key that was generated here.
func (c *Card) attestation(ref byte) ([]byte, uint16) {
	s, attester := c.slots[ref], c.slots[slotAttestation]
	switch {
	case s == nil || attester == nil:
		return nil, swNoReference
	case s.origin != originGenerated:
		return nil, swBadData
	}
	parent, err := x509.ParseCertificate(unwrapCertificate(c.objects[objectAttestation]))
	if err != nil {
		return nil, swConditions
	}
	// As on the real one, whatever certificate lies in the object names the issuer,
	// whether it is that of the key in slot F9 or not.
	parent.PublicKey = attester.key.Public()
	template, err := certificate(pkix.Name{CommonName: fmt.Sprintf("YubiKey PIV Attestation %x", ref)}, parent.NotBefore, parent.NotAfter)
	if err != nil {
		return nil, swConditions
	}
	if template.ExtraExtensions, err = c.statement(s); err != nil {
		return nil, swConditions
	}
	cert, err := issue(template, parent, s.key.Public(), attester.key)
	if err != nil {
		return nil, swConditions
	}
	return cert.Raw, swOK
}

// statement is what an attestation says, as extensions (Yubico, "PIV attestation"):
// firmware, serial number, PIN and touch policy, form factor.
func (c *Card) statement(s *slot) ([]pkix.Extension, error) {
	const keychainUSBA = 1
	serial, err := asn1.Marshal(int64(c.Serial))
	if err != nil {
		return nil, err
	}
	extension := func(arc int, value ...byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, arc}, Value: value}
	}
	return []pkix.Extension{
		extension(3, version()...), extension(7, serial...),
		extension(8, s.pinPolicy, s.touchPolicy), extension(9, keychainUSBA),
	}, nil
}
