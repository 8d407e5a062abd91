package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/provision"
)

// lowerTier is what is said of a station whose key is in a file.
const lowerTier = "file (the lower tier: whoever copies the key file is this station)"

// identityFile holds, in the state folder, what is kept of the keys in the TPM.
const identityFile = "identity.json"

// stationTPM is the station's TPM; nil in the tier file.
func stationTPM(station *config.Station) *identity.TPM {
	if station.Identity.Tier != config.TierTPM {
		return nil
	}
	return identity.New(station.Identity.Device, 0)
}

// closeTPM is for the end of a command; tpm may be nil, and may have gone away.
func closeTPM(tpm *identity.TPM) {
	if tpm != nil {
		_ = tpm.Close() // nothing of what was done depends on it
	}
}

// stationKey is the identity key that the TPM made.
func stationKey(station *config.Station, tpm *identity.TPM) (*identity.Key, error) {
	path := filepath.Join(station.StateDir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("this station has no key in its TPM yet: run usbkeyd enroll")
	}
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	key, err := tpm.LoadKey(data)
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", path, err)
	}
	return key, nil
}

// credential is the station's certificate with its key, wherever that is. tpm is
// stationTPM's.
func credential(station *config.Station, tpm *identity.TPM) (tls.Certificate, *agent.Renewal, error) {
	fail := func(err error) (tls.Certificate, *agent.Renewal, error) { return tls.Certificate{}, nil, err }
	if err := station.Enrolled(); err != nil {
		return fail(err)
	}
	renewal := &agent.Renewal{Keep: func(c *x509.Certificate) error { return writeCertificate(renewedPath(station), c) }}
	if tpm == nil {
		c, err := tls.LoadX509KeyPair(station.Central.Certificate, station.Central.Key)
		if err != nil {
			return fail(&config.FieldError{Field: "central.certificate", Err: err})
		}
		c.Leaf = newest(station, c.Leaf)
		c.Certificate[0] = c.Leaf.Raw
		return c, renewal, nil
	}
	certs, err := readCertificates("central.certificate", station.Central.Certificate)
	if err != nil {
		return fail(err)
	}
	key, err := stationKey(station, tpm)
	if err != nil {
		return fail(err)
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(certs[0].PublicKey) {
		return fail(&config.FieldError{Field: "central.certificate", Err: errors.New("it is over another key than the one in this station's TPM: put the station's own back, or enrol it again")})
	}
	renewal.Certify = key.Certify
	leaf := newest(station, certs[0])
	return tls.Certificate{
		Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf,
		// TLS 1.2 would also choose longer hashes, which the key does not sign.
		SupportedSignatureAlgorithms: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	}, renewal, nil
}

// renewedPath is where the daemon keeps the certificate that it was given in renewal: the
// configuration's folder may be one that it cannot write.
func renewedPath(station *config.Station) string {
	return filepath.Join(station.StateDir, "station.crt")
}

// newest is the certificate of the last renewal, if there is one over the same key
// that is good for longer, else the given one.
func newest(station *config.Station, given *x509.Certificate) *x509.Certificate {
	renewed, err := readCertificates("", renewedPath(station))
	if err != nil || !renewed[0].NotAfter.After(given.NotAfter) || !bytes.Equal(renewed[0].RawSubjectPublicKeyInfo, given.RawSubjectPublicKeyInfo) {
		return given // what is missing or damaged is made again by the next renewal
	}
	return renewed[0]
}

func writeCertificate(path string, c *x509.Certificate) error {
	return provision.WriteDurably(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// sealing is to what the journal's key is sealed; nil in the tier file.
func sealing(station *config.Station, tpm *identity.TPM) (*provision.Sealing, error) {
	if tpm == nil {
		return nil, nil
	}
	var pcrs []uint
	for _, p := range station.Identity.PCRs {
		pcrs = append(pcrs, uint(p))
	}
	s := &provision.Sealing{
		Seal:   func(key []byte) ([]byte, error) { return tpm.Seal(key, pcrs) },
		Unseal: func(box []byte) ([]byte, error) { return tpm.Unseal(box) },
	}
	as := []string{fmt.Sprintf("pcrs %v", station.Identity.PCRs)}
	var officers []envelope.Recipient
	for i, path := range station.Identity.Recovery {
		field := fmt.Sprintf("identity.recovery[%d]", i)
		certs, err := readCertificates(field, path)
		if err != nil {
			return nil, err
		}
		// Also when it has expired meanwhile: it is judged again when something is sealed to it.
		r, err := envelope.ParseRecipient(certs[0].Raw, certs[0].NotBefore)
		if err != nil {
			return nil, &config.FieldError{Field: field, Err: err}
		}
		officers = append(officers, r)
		as = append(as, r.SHA256())
	}
	if len(officers) > 0 {
		s.Envelope = func(key []byte) ([]byte, error) {
			for _, r := range officers {
				if err := r.UsableAt(time.Now()); err != nil {
					return nil, err
				}
			}
			return envelope.Seal(officers, key)
		}
	}
	s.As = strings.Join(as, ", ")
	return s, nil
}

// explainTPM adds what is to be done about a TPM's trouble.
func explainTPM(err error) error {
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, identity.ErrPCRs):
		hint = "the firmware or a boot setting was changed: put it back, or have the recovery copy opened and run usbkeyd state reseal"
	case errors.Is(err, identity.ErrCleared):
		hint = "is this the machine that the state folder belongs to? Otherwise the TPM was replaced or cleared: see docs/identity.md"
	case errors.Is(err, provision.ErrKeySealed):
		hint = "set identity.tier to tpm; the key is good on this station's own machine alone"
	case errors.Is(err, identity.ErrAbsent):
		hint = "switch it on in the machine's firmware, look at identity.device, or choose identity.tier file on purpose"
	case errors.Is(err, identity.ErrOwned):
		hint = "take the password of the owner hierarchy away, or clear the TPM"
	case errors.Is(err, identity.ErrLockedOut):
		hint = "wait until it lets go, or reset the lockout as its owner"
	default:
		return err
	}
	return fmt.Errorf("%w\n  %s", err, hint)
}

// trySigning has the station's key sign something.
func trySigning(key crypto.PrivateKey) error {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("the station's key cannot sign")
	}
	digest := sha256.Sum256([]byte("usbkeyd identity"))
	_, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	return err
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
