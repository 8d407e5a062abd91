package provision

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// The steps from the CA's answer to a token that is proved to hold key and certificate.

// collectCertificate waits until the certificate is there.
func collectCertificate(ctx context.Context, j *run) error {
	begun := j.Now()
	defer func() { j.waited += j.Now().Sub(begun) }()
	for len(j.rec.Facts.Bundle) == 0 {
		if err := j.lease.Check(0, true); err != nil {
			return err
		}
		bundle, err := j.Central.Collect(ctx, j.rec.Job.UnitID(), j.rec.Job.Generation)
		if err != nil {
			return err
		}
		j.rec.Facts.Bundle, j.dirty = bundle, bundle != nil
	}
	return nil
}

// checked returns the CA's answer once it has been compared with everything that was ordered.
func (j *run) checked() (*csr.Chain, error) {
	if j.chain != nil {
		return j.chain, nil
	}
	product, err := j.ordered()
	if err != nil {
		return nil, err
	}
	request, err := product.Profile.Request(j.rec.Job.Subject)
	if err != nil {
		return nil, err
	}
	certificates, err := csr.ParseBundle(j.rec.Facts.Bundle)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefusedCertificate, err)
	}
	chain, err := csr.Check(csr.Expectation{
		Certificates: certificates, Anchors: j.Anchors, SPKI: j.rec.Facts.PublicKey,
		Request: request, Profile: product.Profile,
		Validity:  csr.Validity{Years: j.rec.Job.ValidityYears},
		Requested: j.rec.Job.CreatedAt, Now: j.Now(),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefusedCertificate, err)
	}
	j.chain = chain
	return chain, nil
}

// checkCertificate compares key, subject, usage, validity and chain; nothing is
// written to the token before all of it holds.
func checkCertificate(_ context.Context, j *run) error {
	chain, err := j.checked()
	if err != nil {
		return err
	}
	f := &j.rec.Facts
	f.CertificateSerial = hexSerial(chain.Leaf)
	f.CertificateSHA256 = sha256hex(chain.Leaf.Raw)
	subject, err := csr.Subject(chain.Leaf.Subject)
	if err != nil {
		return err
	}
	f.CertificateSubject = csr.FormatSubject(subject)
	j.dirty = true
	return nil
}

// hexSerial is the big-endian serial number in hexadecimal, two digits a byte.
func hexSerial(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }

// certificateObjects is what belongs on the token: the CA certificates, and last
// the leaf, whose presence says that the rest is there.
func (j *run) certificateObjects(ctx context.Context) ([]pkcs11.CertificateObject, error) {
	chain, err := j.checked()
	if err != nil {
		return nil, err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return nil, err
	}
	var out []pkcs11.CertificateObject
	for i, c := range chain.Intermediates {
		id, err := profile.caKeyID(i, c)
		if err != nil {
			return nil, err
		}
		out = append(out, pkcs11.CertificateObject{ID: id, Label: c.Subject.CommonName, DER: c.Raw})
	}
	return append(out, pkcs11.CertificateObject{ID: j.rec.Facts.KeyID, Label: string(j.rec.Job.TokenLabel), DER: chain.Leaf.Raw}), nil
}

// stored reads what is on the token, but for what the model itself shows.
func (j *run) stored(ctx context.Context, q pkcs11.Query) ([]pkcs11.Object, error) {
	token, err := j.loginAs(ctx, loginUser)
	if err != nil {
		return nil, err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return nil, err
	}
	objects, err := token.Objects(ctx, q)
	return profile.ours(objects), err
}

// observeInstall runs after a crash or a pull. The token first proves that it
// holds the key; then what is on it decides: all of it, or part of it, which is
// removed so that it can be written again, or something that is not ours.
func observeInstall(ctx context.Context, j *run) (Observed, error) {
	if err := provePossession(ctx, j); err != nil {
		return NotDone, err
	}
	want, err := j.certificateObjects(ctx)
	if err != nil {
		return NotDone, err
	}
	class := pkcs11.ClassCertificate
	have, err := j.stored(ctx, pkcs11.Query{Class: &class})
	if err != nil {
		return NotDone, err
	}
	if len(have) == len(want) && sameCertificates(have, want) == nil {
		return Done, nil
	}
	ids := map[string]bool{}
	for _, w := range want {
		ids[w.ID.String()] = true
	}
	for _, h := range have {
		if !ids[h.ID.String()] {
			return NotDone, fmt.Errorf("%w: a certificate with CKA_ID %s", ErrUnexpected, h.ID)
		}
	}
	if err := j.lease.Check(0, true); err != nil {
		return NotDone, err
	}
	return NotDone, j.removeCertificates(ctx, have)
}

// removeCertificates makes room for the whole of them. A model that shows certificates
// of its own beside ours gives each of ours its place, and writes it over (ykcs11).
func (j *run) removeCertificates(ctx context.Context, have []pkcs11.Object) error {
	profile, err := j.tokenProfile(ctx)
	if err != nil || len(have) == 0 || len(profile.OwnLabels) > 0 {
		return err
	}
	token, err := j.loginAs(ctx, profile.writer())
	if err != nil {
		return err
	}
	class := pkcs11.ClassCertificate
	_, err = token.Destroy(ctx, pkcs11.Query{Class: &class})
	return err
}

func install(ctx context.Context, j *run) error {
	want, err := j.certificateObjects(ctx)
	if err != nil {
		return err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	token, err := j.loginAs(ctx, profile.writer())
	if err != nil {
		return err
	}
	for _, c := range want {
		if err := token.WriteCertificate(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// readBack compares what the token holds with what was written, byte for byte,
// and has the token sign a fresh challenge, which Go's own crypto verifies with
// the public key of the certificate as read from the token.
func readBack(ctx context.Context, j *run) error {
	want, err := j.certificateObjects(ctx)
	if err != nil {
		return err
	}
	have, err := j.readAll(ctx)
	if err != nil {
		return err
	}
	if len(have) != len(want) {
		return fmt.Errorf("%w: %d certificates on the token, wanted %d", ErrReadBack, len(have), len(want))
	}
	if err := sameCertificates(have, want); err != nil {
		return err
	}
	return provePossession(ctx, j)
}

// readAll reads everything on the token, as its holder will find it, and gives the
// certificates. There must be one private key, and nothing more but public keys, which open
// nothing. A model whose keys have fixed places shows one, which is none, with each
// certificate of the chain.
func (j *run) readAll(ctx context.Context) (certificates []pkcs11.Object, err error) {
	objects, err := j.stored(ctx, pkcs11.Query{Shallow: true})
	if err != nil {
		return nil, err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return nil, err
	}
	keys := 0
	for _, o := range objects {
		switch {
		case o.Class == pkcs11.ClassCertificate:
			certificates = append(certificates, o)
		case o.Class == pkcs11.ClassPrivateKey && o.ID.Equal(j.rec.Facts.KeyID):
			keys++
		case o.Class == pkcs11.ClassPublicKey, o.Class == pkcs11.ClassPrivateKey && len(profile.KeyID) > 0:
		default:
			return nil, fmt.Errorf("%w: it has an object more, with CKA_ID %s", ErrReadBack, o.ID)
		}
	}
	if keys != 1 {
		return nil, fmt.Errorf("%w: it has %d private keys with CKA_ID %s", ErrReadBack, keys, j.rec.Facts.KeyID)
	}
	return certificates, nil
}

func sameCertificates(have []pkcs11.Object, want []pkcs11.CertificateObject) error {
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || h.ID.Equal(w.ID) && bytes.Equal(h.Certificate, w.DER)
		}
		if !found {
			return fmt.Errorf("%w: certificate %q with CKA_ID %s is not there byte for byte", ErrReadBack, w.Label, w.ID)
		}
	}
	return nil
}

// provePossession has the token sign a fresh challenge and verifies it outside the module.
func provePossession(ctx context.Context, j *run) error {
	product, err := j.ordered()
	if err != nil {
		return err
	}
	chain, err := j.checked()
	if err != nil {
		return err
	}
	signer, err := j.signer(ctx, product.Algorithm)
	if err != nil {
		return err
	}
	challenge, err := csr.NewChallenge(rand.Reader)
	if err != nil {
		return err
	}
	hash := product.Algorithm.Hash
	h := hash.New()
	h.Write(challenge)
	signature, err := signer.Sign(rand.Reader, h.Sum(nil), crypto.SignerOpts(hash))
	if errors.Is(err, pkcs11.ErrNotFound) {
		// The token is there, see judge, so that nobody can bring what is missing.
		return fmt.Errorf("%w: its private key is gone: %w", ErrReadBack, err)
	}
	if err != nil {
		return err
	}
	if err := csr.VerifyPossession(chain.Leaf.PublicKey, challenge, signature, hash); err != nil {
		return fmt.Errorf("%w: the token's key does not belong to the certificate: %w", ErrReadBack, err)
	}
	j.rec.Facts.Possession = &Possession{Challenge: challenge, Hash: hash.String(), Signature: signature}
	return nil
}

// finish logs out and looks at the token as its holder will find it.
func finish(ctx context.Context, j *run) error {
	if err := j.logout(ctx); err != nil {
		return err
	}
	info, err := j.tokenInfo(ctx, true)
	if err != nil {
		return err
	}
	if !info.Flags.Has(pkcs11.FlagTokenInitialized | pkcs11.FlagUserPINInitialized) {
		return fmt.Errorf("%w: the token does not say that it is initialised and has a user PIN (flags %#x)", ErrReadBack, uint(info.Flags))
	}
	for flag, name := range map[pkcs11.TokenFlags]string{
		pkcs11.FlagUserPINLocked: "user PIN locked", pkcs11.FlagSOPINLocked: "SO PIN locked",
		pkcs11.FlagUserPINFinalTry: "one user PIN try left", pkcs11.FlagSOPINFinalTry: "one SO PIN try left",
	} {
		if info.Flags.Has(flag) {
			return fmt.Errorf("%w: %s", ErrReadBack, name)
		}
	}
	if !j.rec.Facts.AsMade && info.Label != j.rec.Job.TokenLabel || info.Serial != j.rec.Token.Identity.Serial {
		return fmt.Errorf("%w: label %q and serial %s at the end", ErrReadBack, string(info.Label), string(info.Serial))
	}
	return nil
}
