package evidence

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"go.mozilla.org/pkcs7"
)

// Sign gives the statement as CMS SignedData in DER, with the signer's
// certificate: one signature over SHA-256, by an ECDSA key that need not be in this process.
func Sign(s Statement, key crypto.Signer, certificate *x509.Certificate) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("sign the statement about %s: %w", s.Unit.UnitID, err)
	}
	if _, ok := key.Public().(*ecdsa.PublicKey); !ok {
		return fail(fmt.Errorf("the station's key is %T, wanted one for ECDSA", key.Public()))
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
	// The library tells the algorithm from the type of the private key, and knows none that
	// is in a TPM. So a key that nobody keeps signs first, and the station's signature then
	// goes where that one's is: over the signed attributes as a SET (RFC 5652, 5.4).
	standIn, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	if err := message.AddSigner(certificate, standIn, pkcs7.SignerInfoConfig{}); err != nil {
		return fail(err)
	}
	signer := &message.GetSignedData().SignerInfos[0]
	attributes, err := asn1.MarshalWithParams(signer.AuthenticatedAttributes, "set")
	if err != nil {
		return fail(err)
	}
	digest := sha256.Sum256(attributes)
	if signer.EncryptedDigest, err = key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
		return fail(err)
	}
	der, err := message.Finish()
	if err != nil {
		return fail(err)
	}
	return der, nil
}
