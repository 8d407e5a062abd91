package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
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
			return nil, errors.New("a PEM block " + block.Type + " where a certificate is wanted")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return out, nil
}

// newCentral makes the client from the station's credential.
func newCentral(station *config.Station, tpm *identity.TPM) (*agent.Central, *agent.Renewal, error) {
	own, renewal, err := credential(station, tpm)
	if err != nil {
		return nil, nil, err
	}
	trust, err := centralTrust(station)
	if err != nil {
		return nil, nil, err
	}
	central, err := agent.NewCentral(station.Central.URLs, own, trust)
	return central, renewal, err
}

// centralTrust is what the servers' certificates stand under.
func centralTrust(station *config.Station) (*x509.CertPool, error) {
	roots, err := readCertificates("central.trust", station.Central.Trust)
	if err != nil {
		return nil, err
	}
	trust := x509.NewCertPool()
	for _, r := range roots {
		trust.AddCert(r)
	}
	return trust, nil
}
