package csr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"sync"
	"testing"
	"time"
)

// One key of each kind serves the whole run: RSA keys are slow to make.
var (
	keyRSA   = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	keyP256  = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	keyP384  = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	keyOther = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	theCA    = sync.OnceValue(func() *testCA { return newCA("示例根证书") })
	otherCA  = sync.OnceValue(func() *testCA { return newCA("另一示例根证书") })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// issued is when everything in these tests happens.
func issued() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }

// testCA is a root with one intermediate below it.
type testCA struct {
	root, intermediate       *x509.Certificate
	rootKey, intermediateKey crypto.Signer
}

func newCA(name string) *testCA {
	ca := &testCA{
		rootKey:         must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		intermediateKey: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
	}
	ca.root = sign(authority(name, 1), nil, ca.rootKey.Public(), ca.rootKey)
	ca.intermediate = sign(authority(name+" 下级", 2), ca.root, ca.intermediateKey.Public(), ca.rootKey)
	return ca
}

func authority(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{Country: []string{"CN"}, CommonName: name},
		NotBefore: issued().AddDate(-5, 0, 0), NotAfter: issued().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// sign issues template; without a parent it is self-signed.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	if parent == nil {
		parent = template
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, pub, key))))
}

// resign takes a certificate apart, lets change edit its TBSCertificate, and signs it
// again: for what x509.CreateCertificate refuses to make.
func resign(cert *x509.Certificate, key crypto.Signer, change func(*tbsCertificate)) *x509.Certificate {
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	must(asn1.Unmarshal(cert.Raw, &outer))
	var tbs tbsCertificate
	must(asn1.Unmarshal(outer.TBS.FullBytes, &tbs))
	change(&tbs)
	tbs.Raw = nil
	body := must(asn1.Marshal(tbs))
	digest := sha256.Sum256(body)
	signature := must(key.Sign(rand.Reader, digest[:], crypto.SHA256))
	der := must(asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: body}, tbs.Algorithm, asn1.BitString{Bytes: signature, BitLength: len(signature) * 8}}))
	return must(x509.ParseCertificate(der))
}

// tbsCertificate is TBSCertificate of RFC 5280, 4.1.
type tbsCertificate struct {
	Raw        asn1.RawContent
	Version    int `asn1:"explicit,tag:0"`
	Serial     *big.Int
	Algorithm  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	Validity   asn1.RawValue
	Subject    asn1.RawValue
	SPKI       asn1.RawValue
	Extensions []pkix.Extension `asn1:"explicit,tag:3"`
}

func sampleProfile() Profile {
	return Profile{
		Subject: SubjectTemplate{
			{Type: "C", Value: "CN"},
			{Type: "O", Value: "{{.Company.Name}}"},
			{Type: "organizationIdentifier", Value: "NTRCN-{{.Company.USCC}}"},
			{Type: "CN", Value: "{{truncate 35 .Company.Name}}@{{.UnitID}}"},
		},
		EmailSAN:          "{{.Handler.Email}}",
		KeyUsage:          []string{"digitalSignature", "contentCommitment"},
		ExtKeyUsage:       []string{"clientAuth", "emailProtection"},
		ValidityTolerance: 24 * time.Hour,
		ClockTolerance:    10 * time.Minute,
	}
}

func compile(t *testing.T, p Profile) *CompiledProfile {
	t.Helper()
	c, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sampleRequest(t *testing.T) Request {
	t.Helper()
	r, err := compile(t, sampleProfile()).Request(SampleData())
	if err != nil {
		t.Fatal(err)
	}
	return r
}
