// Package stationroot is the small CA under which stations and the central server
// know each other: it signs stations' client certificates and the server's own
// TLS certificate, and judges the client certificates that come back.
//
// It owns that root and nothing of the customers' CA: a certificate of the one is
// worth nothing to the other. It must not know stations' records.
package stationroot

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

const (
	rootYears   = 30
	serverYears = 1
	// day is what validities are counted in.
	day = 24 * time.Hour
	// A key file may be copied and nobody can tell, but its certificate is renewed by
	// hand where the station is seldom on; a TPM proves its key again whenever it is asked.
	fileDays = 365
	tpmDays  = 30
	// renewBefore is what is left of the server's certificate when it is made anew.
	renewBefore = 30 * 24 * time.Hour
	backdate    = 5 * time.Minute
)

// Root is the station root.
type Root struct {
	cert  *x509.Certificate
	key   crypto.Signer
	pool  *x509.CertPool
	clock func() time.Time
}

// Open opens the root in dir, or makes it there at first start.
func Open(dir string, clock func() time.Time) (*Root, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeRoot(dir, clock()); err != nil {
			return nil, fmt.Errorf("make the station root: %w", err)
		}
	}
	cert, err := keyfile.ReadCertificate(filepath.Join(dir, "root.pem"))
	if err != nil {
		return nil, fmt.Errorf("open the station root: %w", err)
	}
	key, err := keyfile.ReadKey(filepath.Join(dir, "root.key"))
	if err != nil {
		return nil, fmt.Errorf("open the station root: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &Root{cert: cert, key: key, pool: pool, clock: clock}, nil
}

// Certificate is the root's own.
func (r *Root) Certificate() *x509.Certificate { return r.cert }

// Key is the root's key, for what is signed beside certificates.
func (r *Root) Key() crypto.Signer { return r.key }

// SignStation signs a station's client certificate. Only the name given here gets
// into it, whatever a request said.
func (r *Root) SignStation(name string, public crypto.PublicKey) (*x509.Certificate, error) {
	return r.signStation(name, fileDays, public)
}

// SignTPMStation is SignStation for a key in a TPM: 30 days.
func (r *Root) SignTPMStation(name string, public crypto.PublicKey) (*x509.Certificate, error) {
	return r.signStation(name, tpmDays, public)
}

func (r *Root) signStation(name string, days time.Duration, public crypto.PublicKey) (*x509.Certificate, error) {
	return r.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, days*day, public)
}

// Verify checks that a certificate is a station's, under this root and valid now,
// and gives the station's name.
func (r *Root) Verify(cert *x509.Certificate) (string, error) { return r.verify(cert, r.clock()) }

// VerifyExpired is Verify, save that the certificate may have expired.
func (r *Root) VerifyExpired(cert *x509.Certificate) (string, error) {
	at := r.clock()
	if at.After(cert.NotAfter) {
		at = cert.NotAfter
	}
	return r.verify(cert, at)
}

func (r *Root) verify(cert *x509.Certificate, at time.Time) (string, error) {
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: r.pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return "", err
	}
	// An empty list of usages would pass as "any".
	if cert.IsCA || !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return "", errors.New("it is not a client certificate")
	}
	return cert.Subject.CommonName, nil
}

// ServerCertificate gives the server's TLS certificate for these names and
// addresses. It is kept in dir and made anew when it is not there, does not cover
// the names, stands under another root, or has less than 30 days left.
func (r *Root) ServerCertificate(dir string, names []string) (tls.Certificate, error) {
	if c, ok := r.kept(dir, names); ok {
		return c, nil
	}
	key, err := keyfile.NewKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "usbkey-central"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	cert, err := r.sign(template, serverYears*365*day, key.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := keyfile.KeyPEM(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return tls.Certificate{}, fmt.Errorf("replace the server's certificate: %w", err)
	}
	err = keyfile.WriteDir(dir,
		keyfile.File{Name: "server.key", Content: keyPEM, Secret: true},
		keyfile.File{Name: "server.pem", Content: keyfile.CertificatePEM(cert.Raw)})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("keep the server's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// kept reads the certificate of an earlier start, if it still serves.
func (r *Root) kept(dir string, names []string) (tls.Certificate, bool) {
	cert, err := keyfile.ReadCertificate(filepath.Join(dir, "server.pem"))
	if err != nil {
		return tls.Certificate{}, false
	}
	key, err := keyfile.ReadKey(filepath.Join(dir, "server.key"))
	if err != nil {
		return tls.Certificate{}, false
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) || cert.CheckSignatureFrom(r.cert) != nil {
		return tls.Certificate{}, false
	}
	now := r.clock()
	if now.Before(cert.NotBefore) || cert.NotAfter.Sub(now) < renewBefore {
		return tls.Certificate{}, false
	}
	for _, n := range names {
		if cert.VerifyHostname(n) != nil {
			return tls.Certificate{}, false
		}
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, true
}

func (r *Root) sign(template *x509.Certificate, valid time.Duration, public crypto.PublicKey) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = r.clock().UTC().Add(-backdate).Truncate(time.Second)
	template.NotAfter = template.NotBefore.Add(valid)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, r.cert, public, r.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make certificate serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always 16 bytes
	return new(big.Int).SetBytes(b), nil
}

func makeRoot(dir string, now time.Time) error {
	key, err := keyfile.NewKey()
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	notBefore := now.UTC().Add(-24 * time.Hour).Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"usbkeyd"}, CommonName: "usbkeyd station root"},
		NotBefore:    notBefore, NotAfter: notBefore.AddDate(rootYears, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyPEM, err := keyfile.KeyPEM(key)
	if err != nil {
		return err
	}
	return keyfile.WriteDir(dir,
		keyfile.File{Name: "root.key", Content: keyPEM, Secret: true},
		keyfile.File{Name: "root.pem", Content: keyfile.CertificatePEM(der)})
}
