// Package settings reads the file that configures a CA adapter: strict JSON whose
// paths count from the file's own folder, and whose faults are told all at once,
// each with the name of its field.
//
// It owns how such a file and the files that it names are read. It must not know
// which fields an adapter has.
package settings

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

// maxFile bounds the file.
const maxFile = 64 << 10

// FieldError is one fault.
type FieldError struct {
	Field string
	Err   error
}

// Error implements error.
func (e *FieldError) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }

// Unwrap gives the fault without its field.
func (e *FieldError) Unwrap() error { return e.Err }

// File is a file that was decoded and is being checked. Its methods note faults,
// which Err tells.
type File struct {
	path   string
	faults []error
}

// Read decodes a file into a struct. A key that the struct does not have, another
// type, a second document and a file over 64 KiB are errors.
func Read(path string, into any) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the CA's settings: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the CA's settings: %w", err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("read the CA's settings: %s is larger than %d bytes", path, maxFile)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return nil, fmt.Errorf("read the CA's settings: %s: %w (at byte %d)", path, err, d.InputOffset())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the CA's settings: %s: something stands after the document", path)
	}
	return &File{path: path}, nil
}

// Err joins all faults; each is a *FieldError.
func (f *File) Err() error {
	if len(f.faults) == 0 {
		return nil
	}
	return fmt.Errorf("the CA's settings in %s: %w", f.path, errors.Join(f.faults...))
}

// Fault notes what is wrong with a field.
func (f *File) Fault(field, format string, args ...any) {
	f.faults = append(f.faults, &FieldError{Field: field, Err: fmt.Errorf(format, args...)})
}

// Path makes a path count from the file's folder.
func (f *File) Path(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.path), path)
}

// Require notes a field that was left out.
func (f *File) Require(field, value string) bool {
	if value == "" {
		f.Fault(field, "is required")
	}
	return value != ""
}

// Seconds is a length of time, the default if the field was left out.
func (f *File) Seconds(field string, value *int, def, least, most int) time.Duration {
	n := def
	if value != nil {
		n = *value
	}
	if n < least || n > most {
		f.Fault(field, "is %d, must be from %d to %d", n, least, most)
	}
	return time.Duration(n) * time.Second
}

// CACertificates reads a required file of CA certificates.
func (f *File) CACertificates(field, path string) []*x509.Certificate {
	if !f.Require(field, path) {
		return nil
	}
	certs, err := keyfile.ReadCertificates(f.Path(path))
	if err != nil {
		f.Fault(field, "%w", err)
		return nil
	}
	for _, c := range certs {
		if !c.IsCA {
			f.Fault(field, "%s is not a CA's certificate", c.Subject)
		}
	}
	return certs
}

// Secret reads a secret of one line.
func (f *File) Secret(field, path string) string {
	secret, err := keyfile.ReadSecret(f.Path(path))
	if err != nil {
		f.Fault(field, "%w", err)
	}
	return secret
}

// KeyPair reads a client certificate, with what leads to its root if that is in
// the file too, and its key.
func (f *File) KeyPair(certField, certPath, keyField, keyPath string) *tls.Certificate {
	if err := keyfile.CheckMode(f.Path(keyPath)); err != nil {
		f.Fault(keyField, "%w", err)
		return nil
	}
	key, err := keyfile.ReadKey(f.Path(keyPath))
	if err != nil {
		f.Fault(keyField, "%w", err)
	}
	certs, certErr := keyfile.ReadCertificates(f.Path(certPath))
	if certErr != nil {
		f.Fault(certField, "%w", certErr)
	}
	if err != nil || certErr != nil {
		return nil
	}
	if pub, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		f.Fault(certField, "its first certificate is not that of the key in %s", keyField)
		return nil
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, c := range certs {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair
}
