package evidence

import (
	"crypto"
	"crypto/x509"
	"fmt"

	"go.mozilla.org/pkcs7"
)

// Sign gives the statement as CMS SignedData in DER, with the signer's
// certificate: one signature over SHA-256, by a key that need not be in this process.
func Sign(s Statement, key crypto.Signer, certificate *x509.Certificate) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("sign the statement about %s: %w", s.Unit.UnitID, err)
	}
	text, err := s.encode()
	if err != nil {
		return fail(err)
	}
	message, err := pkcs7.NewSignedData(text)
	if err != nil {
		return fail(err)
	}
	message.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := message.AddSigner(certificate, key, pkcs7.SignerInfoConfig{}); err != nil {
		return fail(err)
	}
	der, err := message.Finish()
	if err != nil {
		return fail(err)
	}
	return der, nil
}
