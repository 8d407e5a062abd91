package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// Acquire implements agent.Pool.
func (p pool) Acquire(ctx context.Context) (pkcs11.Module, error) {
	m, err := p.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Release implements agent.Pool.
func (p pool) Release(m pkcs11.Module) {
	process, ok := m.(*worker.Process)
	if !ok {
		p.log.Error("a module that is none of the pool's came back")
		return
	}
	if err := p.Pool.Release(process); err != nil {
		p.log.Warn("module process did not end cleanly", "error", err)
	}
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
