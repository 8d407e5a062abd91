// Package keyfile keeps private keys and certificates in PEM files: keys with
// mode 0600, nothing ever overwritten by accident, a pair complete or absent.
//
// It owns how such files are written and read. It must not know what the keys are for.
package keyfile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// maxFile bounds what is read of a PEM file.
const maxFile = 1 << 20

// NewKey makes an ECDSA P-256 key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

// KeyPEM is a private key as PKCS#8 in PEM (RFC 7468, 10).
func KeyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// CertificatePEM is a certificate in PEM (RFC 7468, 5).
func CertificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// ReadKey reads a PKCS#8 private key.
func ReadKey(path string) (crypto.Signer, error) {
	block, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s: not a PKCS#8 private key: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T cannot sign", path, key)
	}
	return signer, nil
}

// ReadCertificate reads a file of exactly one certificate.
func ReadCertificate(path string) (*x509.Certificate, error) {
	block, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// ReadCertificates reads a file of one or more certificates.
func ReadCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: a PEM block of type %s among certificates", path, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", path, len(out)+1, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no PEM block of type CERTIFICATE", path)
	}
	return out, nil
}

// ErrOpen says that others than its owner may read a secret's file.
var ErrOpen = errors.New("others may read it; chmod 600")

// CheckMode says ErrOpen for a secret's file that others may read. Windows says
// who may read a file by other means than the mode, which is not looked at there.
func CheckMode(path string) error {
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("%s: mode %04o: %w", path, info.Mode().Perm(), ErrOpen)
	}
	return err
}

// ReadSecret reads a secret of one line, without its line end, from a file that
// only its owner may read.
func ReadSecret(path string) (string, error) {
	if err := CheckMode(path); err != nil {
		return "", err
	}
	data, err := readFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" || strings.ContainsAny(text, "\r\n\x00") {
		return "", fmt.Errorf("%s: not a secret of one line", path)
	}
	return text, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

func readPEM(path, kind string) ([]byte, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: no PEM block of type %s", path, kind)
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, fmt.Errorf("%s: more than one PEM block", path)
	}
	return block.Bytes, nil
}

// File is one file of a set that WriteDir makes.
type File struct {
	Name    string
	Content []byte
	// Secret files get mode 0600, others 0644.
	Secret bool
}

// WriteDir makes a directory with all of these files, or no directory at all: it
// is filled under another name and then renamed. The directory must not exist.
func WriteDir(dir string, files ...File) (err error) {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("%s: exists already", dir)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	for _, f := range files {
		if err := WriteNew(filepath.Join(tmp, f.Name), f); err != nil {
			return err
		}
	}
	crashpoint.Before(crashpoint.KeyFolder)
	err = os.Rename(tmp, dir)
	crashpoint.After(crashpoint.KeyFolder)
	return err
}

// WriteNew writes a file that must not exist yet: after a crash at any moment it is there
// as a whole or not at all. Only one process at a time may write to path.
func WriteNew(path string, f File) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("write %s: %w", path, fs.ErrExist)
	}
	return write(path, f)
}

// Replace is WriteNew for a file that may be there: at any moment the name stands
// for the whole old content or the whole new one.
func Replace(path string, f File) error { return write(path, f) }

func write(path string, f File) error {
	mode := os.FileMode(0o644)
	if f.Secret {
		mode = 0o600
	}
	// The name is always the same, so that crashes leave at most one such file.
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = out.Write(f.Content)
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
		crashpoint.Before(crashpoint.KeyFile)
		err = os.Rename(next, path)
		crashpoint.After(crashpoint.KeyFile)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(next))
	}
	return nil
}
