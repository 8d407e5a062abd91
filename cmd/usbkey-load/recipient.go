package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/usbkeyd/usbkeyd/csr/envelope"
)

// recipient makes somebody who could open PINs, with a certificate in the file, and seals
// one to them; the key is not kept. sum is the certificate's SHA-256.
func recipient(path string) (sealed []byte, sum string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "load recipient"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, "", err
	}
	r, err := envelope.ParseRecipient(text, time.Now())
	if err != nil {
		return nil, "", fmt.Errorf("the recipient: %w", err)
	}
	sealed, err = envelope.Seal([]envelope.Recipient{r}, []byte("87654321"))
	return sealed, r.SHA256(), err
}
