package adminclient

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

// Files of a station's credential.
const (
	StationKey         = "station.key"      // the private key, PKCS#8, mode 0600
	StationCertificate = "station.crt"      // the station's client certificate
	CentralRoot        = "central-root.pem" // what the server's TLS certificate stands under
	CertificateTrust   = "trust.pem"        // roots of the customers' CA
)

// EnrollStation has the server certify a station's key.
func (c *Client) EnrollStation(ctx context.Context, name string, key crypto.Signer) (api.StationCredential, error) {
	cn, err := csr.ParseAttributeType("CN")
	if err != nil {
		return api.StationCredential{}, err
	}
	request, err := csr.Build(key, csr.Request{Subject: []csr.Attribute{{Type: cn, Value: name}}})
	if err != nil {
		return api.StationCredential{}, fmt.Errorf("make the station's certificate request: %w", err)
	}
	var out api.StationCredential
	resp, err := c.raw.PutStation(ctx, name, api.StationRequest{Csr: request})
	_, err = c.answer(resp, err, &out)
	return out, err
}

// AddStation makes a station's key in dir, has it certified, and writes all four
// files beside it. It overwrites nothing; a key left by an earlier try that ended
// half-way is used again.
func (c *Client) AddStation(ctx context.Context, name, dir string) error {
	for _, f := range []string{StationCertificate, CentralRoot, CertificateTrust} {
		if _, err := os.Lstat(filepath.Join(dir, f)); err == nil {
			return fmt.Errorf("%s exists already and is not overwritten: use another directory", filepath.Join(dir, f))
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	key, made, err := stationKey(filepath.Join(dir, StationKey))
	if err != nil {
		return err
	}
	credential, err := c.EnrollStation(ctx, name, key)
	if err != nil {
		var refused *api.Problem
		if made && errors.As(err, &refused) {
			// The server has not taken this key, so nobody needs it.
			err = errors.Join(err, os.Remove(filepath.Join(dir, StationKey)))
		}
		return err
	}
	var trust bytes.Buffer
	if credential.CertificateTrust != nil {
		for _, der := range *credential.CertificateTrust {
			trust.Write(keyfile.CertificatePEM(der))
		}
	}
	for _, f := range []keyfile.File{
		{Name: CentralRoot, Content: keyfile.CertificatePEM(credential.ServerTrust)},
		{Name: CertificateTrust, Content: trust.Bytes()},
		{Name: StationCertificate, Content: keyfile.CertificatePEM(credential.Certificate)},
	} {
		if err := keyfile.WriteNew(filepath.Join(dir, f.Name), f); err != nil {
			return err
		}
	}
	return nil
}

func stationKey(path string) (key crypto.Signer, made bool, err error) {
	key, err = keyfile.ReadKey(path)
	if err == nil {
		return key, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("use the key of an earlier try: %w", err)
	}
	fresh, err := keyfile.NewKey()
	if err != nil {
		return nil, false, err
	}
	text, err := keyfile.KeyPEM(fresh)
	if err != nil {
		return nil, false, err
	}
	return fresh, true, keyfile.WriteNew(path, keyfile.File{Content: text, Secret: true})
}

// Records lists a station's records, one for each installation.
func (c *Client) Records(ctx context.Context, station string) ([]api.Record, error) {
	var out api.RecordList
	resp, err := c.raw.ListRecords(ctx, station)
	_, err = c.answer(resp, err, &out)
	return out.Records, err
}

// RecordEntries reads all entries of a record.
func (c *Client) RecordEntries(ctx context.Context, station, instance string) ([]string, error) {
	return all(func(limit, offset *int) ([]string, int, error) {
		var out api.RecordEntries
		resp, err := c.raw.ListRecordEntries(ctx, station, instance, &api.ListRecordEntriesParams{Limit: limit, Offset: offset})
		_, err = c.answer(resp, err, &out)
		return out.Entries, out.Total, err
	})
}
