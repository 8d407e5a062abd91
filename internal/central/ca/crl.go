package ca

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

const (
	// crlValidity is from thisUpdate to nextUpdate.
	crlValidity = 7 * 24 * time.Hour
	// crlAge is when a CRL is made anew although nothing was revoked.
	crlAge = 24 * time.Hour
)

// CanRevoke implements CA.
func (d *Development) CanRevoke() bool { return true }

// Revoke implements CA: first the record, then the CRL. When the second fails,
// the same again makes up for it.
func (d *Development) Revoke(ctx context.Context, r Revocation) error {
	fail := func(err error) error {
		return fmt.Errorf("revoke certificate %s: %w", SerialText(r.Serial), err)
	}
	if err := r.Reason.Check(); err != nil {
		return fail(err)
	}
	by, ok := d.issuedBy(r.Issuer)
	if !ok {
		return fail(ErrUnknownCertificate)
	}
	var known int
	err := d.db.Write.QueryRowContext(ctx, `SELECT COUNT(*) FROM certificates WHERE serial = $1 AND issuer = $2`,
		SerialText(r.Serial), NameText(by.issuer.Subject)).Scan(&known)
	if err == nil && known == 0 {
		err = ErrUnknownCertificate
	}
	if err != nil {
		return fail(err)
	}
	_, err = d.db.Write.ExecContext(ctx, `INSERT INTO revocations (serial, reason, revoked_at) VALUES ($1, $2, $3) ON CONFLICT (serial) DO NOTHING`,
		SerialText(r.Serial), r.Reason, d.clock().UnixMilli())
	if err != nil {
		return fail(err)
	}
	_, err = d.crl(ctx, by)
	return err
}

func (d *Development) issuedBy(rawName []byte) (hierarchy, bool) {
	for _, h := range []hierarchy{d.ecdsa, d.rsa} {
		if bytes.Equal(rawName, h.issuer.RawSubject) {
			return h, true
		}
	}
	return hierarchy{}, false
}

// CRLs implements CRLMaker. Each is also in the CA's directory, as NAME.crl in DER.
func (d *Development) CRLs(ctx context.Context) ([]CRL, error) {
	var out []CRL
	for _, h := range []hierarchy{d.ecdsa, d.rsa} {
		c, err := d.crl(ctx, h)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// crl is the present CRL of one issuer, made anew if it lacks a revocation or is old.
func (d *Development) crl(ctx context.Context, h hierarchy) (CRL, error) {
	fail := func(err error) (CRL, error) { return CRL{}, fmt.Errorf("make the CRL %s: %w", h.name, err) }
	d.crlMu.Lock() // so that an older file never replaces a newer one
	defer d.crlMu.Unlock()
	out := CRL{Name: h.name}
	err := d.db.Transact(ctx, func(tx *database.Tx) (err error) {
		out.DER, err = h.presentCRL(ctx, tx, d.clock())
		return err
	})
	if err != nil {
		return fail(err)
	}
	path := filepath.Join(d.dir, h.name+".crl")
	if onDisk, err := os.ReadFile(path); err == nil && bytes.Equal(onDisk, out.DER) {
		return out, nil
	}
	if err := keyfile.Replace(path, keyfile.File{Content: out.DER}); err != nil {
		return fail(err)
	}
	return out, nil
}

// presentCRL is the newest one, or one after it. Servers that share the record may
// both want to make it; a number is taken once, and the other then finds it.
func (h hierarchy) presentCRL(ctx context.Context, tx *database.Tx, now time.Time) ([]byte, error) {
	var number, count, madeAt int64
	var der []byte
	err := tx.QueryRowContext(ctx, `SELECT number, entries, made_at, crl FROM crls WHERE name = $1 ORDER BY number DESC LIMIT 1`, h.name).
		Scan(&number, &count, &madeAt, &der)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	// After it, so that they have all that it has. Who makes one meanwhile takes the number,
	// and this runs again.
	entries, err := revoked(ctx, tx, NameText(h.issuer.Subject))
	if err != nil {
		return nil, err
	}
	if number > 0 && count == int64(len(entries)) && now.Sub(time.UnixMilli(madeAt)) <= crlAge {
		return der, nil
	}
	if der, err = h.signCRL(number+1, now, entries); err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO crls (name, number, entries, made_at, crl) VALUES ($1, $2, $3, $4, $5)`,
		h.name, number+1, len(entries), now.UnixMilli(), der)
	return der, err
}

func revoked(ctx context.Context, tx *database.Tx, issuer string) ([]x509.RevocationListEntry, error) {
	rows, err := tx.QueryContext(ctx, `SELECT r.serial, r.reason, r.revoked_at FROM revocations r
		JOIN certificates c ON c.serial = r.serial WHERE c.issuer = $1 ORDER BY r.revoked_at, r.serial`, issuer)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is that of rows.Err
	var out []x509.RevocationListEntry
	for rows.Next() {
		var serial string
		var at int64
		var e x509.RevocationListEntry
		// Reason 0 is not written (RFC 5280, 5.3.1), and x509 does not.
		if err := rows.Scan(&serial, &e.ReasonCode, &at); err != nil {
			return nil, err
		}
		n, ok := new(big.Int).SetString(serial, 16)
		if !ok {
			return nil, fmt.Errorf("the record has a serial %q", serial)
		}
		e.SerialNumber, e.RevocationTime = n, time.UnixMilli(at).UTC().Truncate(time.Second)
		out = append(out, e)
	}
	return out, rows.Err()
}

// signCRL makes a version 2 CRL with a number and the issuer's key id (RFC 5280, 5.2).
func (h hierarchy) signCRL(number int64, now time.Time, entries []x509.RevocationListEntry) ([]byte, error) {
	thisUpdate := now.UTC().Truncate(time.Second)
	return x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: thisUpdate, NextUpdate: thisUpdate.Add(crlValidity), RevokedCertificateEntries: entries,
	}, h.issuer, h.key)
}
