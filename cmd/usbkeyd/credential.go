package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/audit"
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

// newCentral makes the client from the station's credential, and says with which keys
// the station's record goes there.
func newCentral(station *config.Station) (*agent.Central, *agent.RecordKeys, error) {
	if err := station.Enrolled(); err != nil {
		return nil, nil, err
	}
	credential, err := tls.LoadX509KeyPair(station.Central.Certificate, station.Central.Key)
	if err != nil {
		return nil, nil, &config.FieldError{Field: "central.certificate", Err: err}
	}
	roots, err := readCertificates("central.trust", station.Central.Trust)
	if err != nil {
		return nil, nil, err
	}
	key, ok := credential.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, &config.FieldError{Field: "central.key", Err: errors.New("this kind of key signs nothing")}
	}
	if _, err := audit.NewSigner(station.Name, key); err != nil {
		return nil, nil, &config.FieldError{Field: "central.key", Err: err}
	}
	var own []*x509.Certificate
	for _, der := range credential.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, &config.FieldError{Field: "central.certificate", Err: err}
		}
		own = append(own, c)
	}
	trust := x509.NewCertPool()
	for _, r := range roots {
		trust.AddCert(r)
	}
	central, err := agent.NewCentral(station.Central.URLs, credential, trust)
	return central, &agent.RecordKeys{Signer: key, Certificate: own[0], Chain: own[1:], Central: publicKeys(roots)}, err
}

// publicKeys are the keys in certificates.
func publicKeys(certificates []*x509.Certificate) (out []crypto.PublicKey) {
	for _, c := range certificates {
		out = append(out, c.PublicKey)
	}
	return out
}
