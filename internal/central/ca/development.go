package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"embed"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	rootYears   = 30
	issuerYears = 20
	// backdate lets a workstation whose clock is a little slow use its certificate at once.
	backdate = 5 * time.Minute
	// serialBytes of randomness: more than the 64 bits that the CA/Browser Forum asks
	// for, fewer than the 20 octets of RFC 5280, 4.1.2.2.
	serialBytes = 16
)

// Development is a CA for demonstrations and tests: for each kind of key a root and
// an issuing CA of that kind, their keys in files, and a record in a database of
// its own, which servers with the same keys may share. An RSA key is certified under
// the RSA root, an EC key under the ECDSA root, so that relying parties need one
// kind of signature only.
type Development struct {
	dir   string
	db    *database.DB
	ecdsa hierarchy
	rsa   hierarchy
	clock func() time.Time
	crlMu sync.Mutex
}

// hierarchy is a root and the issuing CA under it.
type hierarchy struct {
	name   string // of its files
	root   *x509.Certificate
	issuer *x509.Certificate
	key    crypto.Signer // the issuer's
}

// DevelopmentRecord is where the record of a CA in dir is, unless servers share it.
func DevelopmentRecord(dir string) database.Place {
	return database.File(filepath.Join(dir, "issued.db"))
}

// OpenDevelopment opens the CA in dir, or makes it there at first start.
func OpenDevelopment(ctx context.Context, dir string, record database.Place, clock func() time.Time) (*Development, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeHierarchies(dir, clock()); err != nil {
			return nil, fmt.Errorf("make the development CA: %w", err)
		}
	}
	d := &Development{dir: dir, clock: clock}
	var err error
	if d.ecdsa, err = openHierarchy(dir, "ecdsa"); err != nil {
		return nil, fmt.Errorf("open the development CA: %w", err)
	}
	if d.rsa, err = openHierarchy(dir, "rsa"); err != nil {
		return nil, fmt.Errorf("open the development CA: %w", err)
	}
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open the development CA: %w", err)
	}
	if d.db, err = database.Open(ctx, record, sub); err != nil {
		return nil, err
	}
	if _, err := d.CRLs(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func openHierarchy(dir, kind string) (h hierarchy, err error) {
	h.name = kind
	path := func(name string) string { return filepath.Join(dir, kind+"-"+name) }
	if h.root, err = keyfile.ReadCertificate(path("root.pem")); err != nil {
		return h, err
	}
	if h.issuer, err = keyfile.ReadCertificate(path("issuer.pem")); err != nil {
		return h, err
	}
	if h.key, err = keyfile.ReadKey(path("issuer.key")); err != nil {
		return h, err
	}
	if err := h.issuer.CheckSignatureFrom(h.root); err != nil {
		return h, fmt.Errorf("%s does not stand under %s: %w", path("issuer.pem"), path("root.pem"), err)
	}
	return h, nil
}

// forKey is the hierarchy that certifies a key.
func (d *Development) forKey(pub crypto.PublicKey) hierarchy {
	if _, ok := pub.(*rsa.PublicKey); ok {
		return d.rsa
	}
	return d.ecdsa
}

// Close closes the record.
func (d *Development) Close() error { return d.db.Close() }

// CanLookup implements CA.
func (d *Development) CanLookup() bool { return true }

// Roots implements CA.
func (d *Development) Roots() []*x509.Certificate {
	return []*x509.Certificate{d.ecdsa.root, d.rsa.root}
}

// Issue implements CA. The certificate is in the record, on disk, before it is returned.
func (d *Development) Issue(ctx context.Context, r Request) (Certificate, error) {
	request, err := csr.ParseRequest(r.CSR)
	if err != nil {
		return Certificate{}, &RefusedError{Reason: err.Error()}
	}
	if r.ID == "" || r.Profile.ValidityYears < 1 {
		return Certificate{}, &RefusedError{Reason: "it has no id or no validity"}
	}
	var leaf *x509.Certificate
	err = d.db.Transact(ctx, func(tx *database.Tx) (err error) {
		leaf, err = d.issueOnce(ctx, tx, r, request)
		return err
	})
	if err != nil {
		return Certificate{}, fmt.Errorf("issue %s: %w", r.ID, err)
	}
	return d.answer(leaf)
}

// issueOnce finds what was issued under the id, or issues and records it.
func (d *Development) issueOnce(ctx context.Context, tx *database.Tx, r Request, request *csr.ParsedRequest) (*x509.Certificate, error) {
	known, requestSum, err := scanIssued(tx.QueryRowContext(ctx, issued, r.ID))
	if err != nil {
		return nil, err
	}
	if known != nil {
		if requestSum != sum(r.CSR) {
			return nil, &RefusedError{Reason: "another request was answered under id " + r.ID}
		}
		return known, nil
	}
	leaf, err := d.sign(request, r.Profile)
	if err != nil {
		return nil, err
	}
	err = tx.One(ctx, "record", `INSERT INTO certificates (number, request_id, request_sha256, serial, sha256, public_key_sha256, subject, issuer, not_before, not_after, certificate)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		d.number(), r.ID, sum(r.CSR), SerialText(leaf.SerialNumber), Digest(leaf), sum(request.SPKI),
		NameText(leaf.Subject), NameText(leaf.Issuer), leaf.NotBefore.UnixMilli(), leaf.NotAfter.UnixMilli(), leaf.Raw)
	return leaf, err
}

// number puts a certificate into its place in the record: by the time, and by chance
// within a millisecond. The next number in turn would make all that issue at the same
// time stand in each other's way.
func (d *Development) number() int64 {
	const chance = 20 // bits; the milliseconds since 1970 take 41
	return d.clock().UnixMilli()<<chance | int64(mathrand.IntN(1<<chance))
}

// Lookup implements CA.
func (d *Development) Lookup(ctx context.Context, id string) (Certificate, bool, error) {
	leaf, _, err := scanIssued(d.db.Write.QueryRowContext(ctx, issued, id))
	if err != nil {
		return Certificate{}, false, fmt.Errorf("look up %s: %w", id, err)
	}
	if leaf == nil {
		return Certificate{}, false, nil
	}
	c, err := d.answer(leaf)
	return c, err == nil, err
}

// Issued implements Recorder.
func (d *Development) Issued(ctx context.Context, limit, offset int) ([]Record, int, error) {
	fail := func(err error) ([]Record, int, error) { return nil, 0, fmt.Errorf("list certificates: %w", err) }
	var total int
	if err := d.db.Read.QueryRowContext(ctx, `SELECT COUNT(*) FROM certificates`).Scan(&total); err != nil {
		return fail(err)
	}
	rows, err := d.db.Read.QueryContext(ctx, `SELECT request_id, serial, sha256, public_key_sha256, subject, issuer, not_before, not_after
		FROM certificates ORDER BY number LIMIT $1 OFFSET $2`, limit, offset)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = rows.Close() }() // its error is that of rows.Err
	var out []Record
	for rows.Next() {
		var r Record
		var from, to int64
		if err := rows.Scan(&r.RequestID, &r.Serial, &r.SHA256, &r.PublicKeySHA256, &r.Subject, &r.Issuer, &from, &to); err != nil {
			return fail(err)
		}
		r.NotBefore, r.NotAfter = time.UnixMilli(from).UTC(), time.UnixMilli(to).UTC()
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return out, total, nil
}

// issued is what was issued under an id.
const issued = `SELECT certificate, request_sha256 FROM certificates WHERE request_id = $1`

func scanIssued(r database.Row) (*x509.Certificate, string, error) {
	var der []byte
	var requestSum string
	err := r.Scan(&der, &requestSum)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	leaf, err := x509.ParseCertificate(der)
	return leaf, requestSum, err
}

// answer puts the leaf and the issuing CA into a bundle. The root is not in it:
// who trusts it has it already, and who has not must not get it this way.
func (d *Development) answer(leaf *x509.Certificate) (Certificate, error) {
	p7, err := csr.EncodeBundle([]*x509.Certificate{leaf, d.forKey(leaf.PublicKey).issuer})
	if err != nil {
		return Certificate{}, fmt.Errorf("encode certificates: %w", err)
	}
	return Certificate{PKCS7: p7, Leaf: leaf}, nil
}

func (d *Development) sign(request *csr.ParsedRequest, p Profile) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	keyID, err := subjectKeyID(request.SPKI)
	if err != nil {
		return nil, err
	}
	by := d.forKey(request.PublicKey)
	notBefore := d.clock().UTC().Add(-backdate).Truncate(time.Second)
	notAfter := notBefore.AddDate(p.ValidityYears, 0, 0)
	if notAfter.After(by.issuer.NotAfter) {
		return nil, &RefusedError{Reason: "it would outlive the issuing CA"}
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          serial,
		RawSubject:            request.RawSubject,
		EmailAddresses:        request.Emails,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              p.KeyUsage, // Go marks it critical, as RFC 5280, 4.2.1.3 wants
		ExtKeyUsage:           p.ExtKeyUsage,
		BasicConstraintsValid: true, // CA:FALSE, critical
		SubjectKeyId:          keyID,
	}, by.issuer, request.PublicKey, by.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return leaf, nil
}

// newSerial is random, positive and always of the same length: the top bit is
// clear, the one below it set.
func newSerial() (*big.Int, error) {
	b := make([]byte, serialBytes)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make certificate serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b), nil
}

// subjectKeyID is method 1 of RFC 7093, 2: the leftmost 160 bits of the SHA-256 of the key's BIT STRING.
func subjectKeyID(spki []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil, fmt.Errorf("subject key identifier: %w", err)
	}
	s := sha256.Sum256(info.Key.RightAlign())
	return s[:20], nil
}

func makeHierarchies(dir string, now time.Time) error {
	ec, err := makeHierarchy("ECDSA", now, func() (crypto.Signer, error) { return keyfile.NewKey() })
	if err != nil {
		return err
	}
	// 2048 bits: this CA is for trying things out, and is made anew in every test.
	old, err := makeHierarchy("RSA", now, func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	if err != nil {
		return err
	}
	return keyfile.WriteDir(dir, append(ec, old...)...)
}

// makeHierarchy makes a root and an issuing CA with keys of one kind.
func makeHierarchy(kind string, now time.Time, newKey func() (crypto.Signer, error)) ([]keyfile.File, error) {
	rootKey, err := newKey()
	if err != nil {
		return nil, err
	}
	issuerKey, err := newKey()
	if err != nil {
		return nil, err
	}
	name := func(role string) pkix.Name {
		return pkix.Name{Country: []string{"CN"}, Organization: []string{"usbkeyd development"}, CommonName: "usbkeyd development " + kind + " " + role + " CA"}
	}
	root, err := makeCA(name("root"), rootYears, now, 1, rootKey, nil, rootKey)
	if err != nil {
		return nil, err
	}
	issuer, err := makeCA(name("issuing"), issuerYears, now, 0, issuerKey, root, rootKey)
	if err != nil {
		return nil, err
	}
	rootPEM, err := keyfile.KeyPEM(rootKey)
	if err != nil {
		return nil, err
	}
	issuerPEM, err := keyfile.KeyPEM(issuerKey)
	if err != nil {
		return nil, err
	}
	prefix := strings.ToLower(kind) + "-"
	return []keyfile.File{
		{Name: prefix + "root.key", Content: rootPEM, Secret: true},
		{Name: prefix + "root.pem", Content: keyfile.CertificatePEM(root.Raw)},
		{Name: prefix + "issuer.key", Content: issuerPEM, Secret: true},
		{Name: prefix + "issuer.pem", Content: keyfile.CertificatePEM(issuer.Raw)},
	}, nil
}

// makeCA signs a CA certificate; without a parent it signs itself.
func makeCA(name pkix.Name, years int, now time.Time, pathLen int, key crypto.Signer, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	notBefore := now.UTC().Add(-24 * time.Hour).Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: name,
		NotBefore: notBefore, NotAfter: notBefore.AddDate(years, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name.CommonName, err)
	}
	return x509.ParseCertificate(der)
}
