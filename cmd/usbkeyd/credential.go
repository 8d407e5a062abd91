package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/identity"
)

// readCertificates reads the certificates of a PEM file.
func readCertificates(field, path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &config.FieldError{Field: field, Err: err}
	}
	certs, err := parsePEMCertificates(data)
	if err != nil {
		return nil, &config.FieldError{Field: field, Err: fmt.Errorf("%s: %w", path, err)}
	}
	return certs, nil
}

// parsePEMCertificates takes a file of CERTIFICATE blocks and nothing else.
func parsePEMCertificates(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a PEM block %q; only certificates belong in it", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a certificate in it cannot be read: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return out, nil
}

// newCentral makes the client from the station's credential, and says with which keys
// the station's record goes there. tpm is stationTPM's.
func newCentral(station *config.Station, tpm *identity.TPM) (*agent.Central, *agent.RecordKeys, *agent.Renewal, error) {
	fail := func(err error) (*agent.Central, *agent.RecordKeys, *agent.Renewal, error) { return nil, nil, nil, err }
	own, renewal, err := credential(station, tpm)
	if err != nil {
		return fail(err)
	}
	roots, err := readCertificates("central.trust", station.Central.Trust)
	if err != nil {
		return fail(err)
	}
	key, ok := own.PrivateKey.(crypto.Signer)
	if !ok {
		return fail(&config.FieldError{Field: "central.key", Err: errors.New("this kind of key signs nothing")})
	}
	if _, err := audit.NewSigner(station.Name, key); err != nil {
		return fail(&config.FieldError{Field: "central.key", Err: err})
	}
	central, err := agent.NewCentral(station.Central.URLs, own, certPool(roots))
	return central, &agent.RecordKeys{Signer: key, Central: publicKeys(roots)}, renewal, err
}

// centralTrust is what the servers' certificates stand under.
func centralTrust(station *config.Station) (*x509.CertPool, error) {
	roots, err := readCertificates("central.trust", station.Central.Trust)
	if err != nil {
		return nil, err
	}
	return certPool(roots), nil
}

func certPool(roots []*x509.Certificate) *x509.CertPool {
	out := x509.NewCertPool()
	for _, r := range roots {
		out.AddCert(r)
	}
	return out
}

// publicKeys are the keys in certificates.
func publicKeys(certificates []*x509.Certificate) (out []crypto.PublicKey) {
	for _, c := range certificates {
		out = append(out, c.PublicKey)
	}
	return out
}
