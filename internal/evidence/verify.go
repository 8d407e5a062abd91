package evidence

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"go.mozilla.org/pkcs7"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// Trust is what a verifier has.
type Trust struct {
	// Stations are the roots under which stations stand; the central server's key is
	// under them, too.
	Stations []*x509.Certificate
	// Certificate is the customer's certificate, in DER; nil when it is not at hand.
	Certificate []byte
}

// Verified is a statement that can be believed.
type Verified struct {
	Statement Statement
	// SignedAt is when the station says that it signed.
	SignedAt time.Time
	Signer   *x509.Certificate
	// Anchored says that the central server has signed a record in which the unit is.
	Anchored bool
	// Compared says that the customer's certificate was at hand.
	Compared bool
}

// Errors.
var (
	// ErrSignature: nobody that is trusted has signed it, or it was changed.
	ErrSignature = errors.New("its signature does not hold")
	// ErrContradiction: what it says is not borne out by what it shows.
	ErrContradiction = errors.New("it contradicts itself")
)

// Verify checks a statement: that a station under one of the roots signed it while its
// certificate was valid, with SHA-256; that the key signed the challenge; that the
// record holds the unit, its token, key and certificate as the statement has them. Errors:
// ErrStatement, ErrSignature, ErrContradiction.
func Verify(der []byte, trust Trust) (Verified, error) {
	v, text, err := open(der, trust.Stations)
	if err != nil {
		return Verified{}, err
	}
	s, err := decode(text)
	if err != nil {
		return Verified{}, err
	}
	v.Statement = s
	if v.Signer.Subject.CommonName != s.Station.Name {
		return Verified{}, fmt.Errorf("%w: station %q signed for station %q", ErrContradiction, v.Signer.Subject.CommonName, s.Station.Name)
	}
	if err := checkPossession(s); err != nil {
		return Verified{}, err
	}
	if trust.Certificate != nil {
		if err := checkCertificate(s, trust.Certificate); err != nil {
			return Verified{}, err
		}
		v.Compared = true
	}
	if s.Record != nil {
		if err := checkRecord(s, trust.Stations); err != nil {
			return Verified{}, err
		}
		v.Anchored = true
	}
	return v, nil
}

// open checks the signature and gives what was signed.
func open(der []byte, roots []*x509.Certificate) (Verified, []byte, error) {
	fail := func(err error) (Verified, []byte, error) {
		return Verified{}, nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	message, err := parse(der)
	if err != nil {
		return Verified{}, nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	signer := message.GetOnlySigner()
	if signer == nil || len(message.Signers) != 1 {
		return fail(fmt.Errorf("it has %d signers, wanted one with its certificate", len(message.Signers)))
	}
	if !message.Signers[0].DigestAlgorithm.Algorithm.Equal(pkcs7.OIDDigestAlgorithmSHA256) {
		return fail(fmt.Errorf("its digest is %s, wanted SHA-256", message.Signers[0].DigestAlgorithm.Algorithm))
	}
	var at time.Time
	if err := message.UnmarshalSignedAttribute(pkcs7.OIDAttributeSigningTime, &at); err != nil {
		return fail(fmt.Errorf("it does not say when it was signed: %w", err))
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	// The library looks at the signature and at the signing time; what the certificate may be used for it does not.
	if err := message.VerifyWithChainAtTime(pool, at); err != nil {
		return fail(err)
	}
	between := x509.NewCertPool()
	for _, c := range message.Certificates {
		between.AddCert(c)
	}
	_, err = signer.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return fail(err)
	}
	return Verified{SignedAt: at.UTC(), Signer: signer}, message.Content, nil
}

func checkPossession(s Statement) error {
	key, err := x509.ParsePKIXPublicKey(s.Key.PublicKey)
	if err != nil {
		return fmt.Errorf("%w: its public key: %w", ErrContradiction, err)
	}
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if hash.String() != s.Possession.Hash {
			continue
		}
		if err := csr.VerifyPossession(key, s.Possession.Challenge, s.Possession.Signature, hash); err != nil {
			return fmt.Errorf("%w: the key did not sign the challenge: %w", ErrContradiction, err)
		}
		return nil
	}
	return fmt.Errorf("%w: the challenge's hash is %q", ErrContradiction, s.Possession.Hash)
}

func checkCertificate(s Statement, der []byte) error {
	sum := sha256.Sum256(der)
	if hex.EncodeToString(sum[:]) != s.Certificate.SHA256 {
		return fmt.Errorf("%w: the statement is about a certificate with SHA-256 %s", ErrContradiction, s.Certificate.SHA256)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContradiction, err)
	}
	if !bytes.Equal(c.RawSubjectPublicKeyInfo, s.Key.PublicKey) {
		return fmt.Errorf("%w: the certificate is for another key", ErrContradiction)
	}
	return nil
}

// checkRecord holds the statement against the entry that the record has of the unit.
func checkRecord(s Statement, roots []*x509.Certificate) error {
	fail := func(err error) error { return fmt.Errorf("%w: record: %w", ErrContradiction, err) }
	entry, err := audit.Decode([]byte(s.Record.Entry))
	if err != nil {
		return fail(err)
	}
	for _, row := range []struct {
		what      string
		have, say any
	}{
		{"index", entry.Index, s.Record.Index},
		{"kind", entry.Kind, audit.KindInstalled},
		{"unit", entry.Unit, s.Unit.UnitID},
		{"generation", entry.Generation, s.Unit.Generation},
		{"job", entry.Job, s.Unit.JobID},
		{"public key", entry.Hashes["publicKey"], sum(s.Key.PublicKey)},
		{"certificate", entry.Hashes["certificate"], s.Certificate.SHA256},
		{"certificate serial", entry.IDs["certificateSerial"], s.Certificate.Serial},
		{"token", entry.TokenSerial + entry.Hashes["tokenSerial"], recordedSerial(s.Token.Serial)},
	} {
		if row.have != row.say {
			return fail(fmt.Errorf("its %s is %v, the statement says %v", row.what, row.have, row.say))
		}
	}
	for _, e := range s.Envelopes {
		name := map[string]string{OfSOPIN: "soPinEnvelope", OfUserPIN: "userPinEnvelope"}[e.Of]
		if name == "" || entry.Hashes[name] != e.SHA256 {
			return fail(fmt.Errorf("it has another envelope of the %s", e.Of))
		}
	}
	keys := audit.Keys{}
	for _, r := range roots {
		keys.Central = append(keys.Central, r.PublicKey)
	}
	checkpoint, err := keys.OpenCosigned([]byte(s.Record.Checkpoint), audit.Origin(s.Station.Name, s.Station.Instance))
	if err != nil {
		return fail(err)
	}
	if err := audit.CheckEntry(checkpoint, s.Record.Index, []byte(s.Record.Entry), s.Record.Proof); err != nil {
		return fail(err)
	}
	return nil
}

// recordedSerial is how a record names a token: by its serial where that has the form of one.
func recordedSerial(serial string) string {
	if audit.IsTokenSerial(serial) {
		return serial
	}
	return sum([]byte(serial))
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}
