package proof

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why a maker does not vouch for a TPM.
var (
	// ErrUnknownMaker says that an endorsement certificate stands under none of the roots.
	ErrUnknownMaker = errors.New("the TPM's endorsement certificate stands under none of the configured roots")
	// ErrNotEndorsement says that what the maker signed is another kind of certificate.
	ErrNotEndorsement = errors.New("the certificate is not for an endorsement key")
)

// parseCertificate takes the certificate of the endorsement key with this SPKI.
// Makers pad what they write into the TPM, so what follows the certificate is dropped.
func parseCertificate(der, spki []byte) (*x509.Certificate, error) {
	var whole asn1.RawValue
	if _, err := asn1.Unmarshal(der, &whole); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(whole.FullBytes)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(public, spki) {
		return nil, errors.New("it is of another endorsement key")
	}
	return cert, nil
}

// checkUsage tells an endorsement certificate from what else a maker signs: it is no CA's,
// and where it has extended key usages, tcg-kp-EKCertificate is among them (TCG EK Credential
// Profile, 3.2). Older ones have none.
func checkUsage(cert *x509.Certificate) error {
	isEK := func(id asn1.ObjectIdentifier) bool { return id.Equal(asn1.ObjectIdentifier{2, 23, 133, 8, 1}) }
	named := len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) > 0
	switch {
	case cert.IsCA:
		return fmt.Errorf("%w: it is a CA's", ErrNotEndorsement)
	case named && !slices.ContainsFunc(cert.UnknownExtKeyUsage, isEK):
		return fmt.Errorf("%w: its extended key usages are others", ErrNotEndorsement)
	}
	return nil
}

// CheckMaker checks that the endorsement certificate stands under one of the roots at
// this time, directly or by certificates of the roots' file that are not self-signed.
// Else it is ErrUnknownMaker, or ErrNotEndorsement for another kind of certificate.
func (a *Applicant) CheckMaker(makers []*x509.Certificate, now time.Time) error {
	if a.certificate == nil {
		return fmt.Errorf("%w: there is no certificate in it", ErrUnknownMaker)
	}
	if err := checkUsage(a.certificate); err != nil {
		return err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, m := range makers {
		if bytes.Equal(m.RawSubject, m.RawIssuer) {
			roots.AddCert(m)
		} else {
			between.AddCert(m)
		}
	}
	leaf := *a.certificate
	// A critical alternative name holds the TPM's model as a directory name (TCG EK
	// Credential Profile, 3.2.9), which crypto/x509 leaves to its caller; nothing
	// depends on it here.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions),
		func(id asn1.ObjectIdentifier) bool { return id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) })
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknownMaker, err)
	}
	return nil
}
