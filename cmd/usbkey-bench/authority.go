package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// authority is the CA of the shell's tokens, and what the floor writes on its own; all are files.
type authority struct {
	key, chainPEM, chainDER, leafDER string
}

// officer may open PINs; nobody keeps the key.
type officer struct{ file, fingerprint string }

func newAuthority(dir string) (a authority, err error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	a = authority{key: in("ca.key"), chainPEM: in("ca.pem"), chainDER: in("ca.der"), leafDER: in("leaf.der")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return a, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return a, err
	}
	ca := certificate(1, "bench CA", x509.KeyUsageCertSign)
	ca.IsCA, ca.BasicConstraintsValid = true, true
	chain, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return a, err
	}
	of := certificate(2, "bench key", x509.KeyUsageDigitalSignature)
	leaf, err := x509.CreateCertificate(rand.Reader, of, ca, key.Public(), key)
	return a, errors.Join(err,
		os.WriteFile(a.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		os.WriteFile(a.chainPEM, certificatePEM(chain), 0o600),
		os.WriteFile(a.chainDER, chain, 0o600), os.WriteFile(a.leafDER, leaf, 0o600))
}

func newOfficer(dir string, n int) (officer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return officer{}, err
	}
	der, err := selfSigned(certificate(int64(n), fmt.Sprint("bench officer ", n), x509.KeyUsageKeyEncipherment), key)
	if err != nil {
		return officer{}, err
	}
	sum := sha256.Sum256(der)
	o := officer{filepath.Join(dir, fmt.Sprintf("officer-%d.pem", n)), hex.EncodeToString(sum[:])}
	return o, os.WriteFile(o.file, certificatePEM(der), 0o600)
}

func certificate(serial int64, name string, usage x509.KeyUsage) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, KeyUsage: usage,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

func selfSigned(t *x509.Certificate, key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
