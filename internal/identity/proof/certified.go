package proof

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// Certified is what TPM2_Certify gives: an attestation (TPMS_ATTEST, part 2, 10.12.12)
// and its signature (TPMT_SIGNATURE, part 2, 11.3.4).
type Certified struct{ Attestation, Signature []byte }

// CheckCertified checks that the attestation key says of the identity key that both
// are in one TPM, over this very nonce. The keys are public areas as in a Request.
func CheckCertified(akArea, keyArea, nonce []byte, c Certified) error {
	ak, err := parseAK(akArea)
	if err != nil {
		return invalid("attestation key", err)
	}
	key, err := parseKey(keyArea)
	if err != nil {
		return invalid("identity key", err)
	}
	if err := checkSignature(ak.public, c); err != nil {
		return invalid("signature of the attestation", err)
	}
	a, err := tpm2.Unmarshal[tpm2.TPMSAttest](c.Attestation)
	if err != nil {
		return invalid("attestation", err)
	}
	fault := func(why string) error { return invalid("attestation", errors.New(why)) }
	switch {
	case !bytes.Equal(tpm2.Marshal(*a), c.Attestation):
		return fault("it is not written as a TPM writes it")
	case a.Magic != tpm2.TPMGeneratedValue:
		return fault("it was not made by a TPM")
	case len(nonce) != SecretLen || subtle.ConstantTimeCompare(a.ExtraData.Buffer, nonce) != 1:
		return fault("it is not over the nonce that was given out")
	}
	info, err := a.Attested.Certify() // an error where it says something else
	if err != nil {
		return invalid("attestation", err)
	}
	if !bytes.Equal(info.Name.Buffer, key.name) {
		return fault("it certifies another key")
	}
	return nil
}

func checkSignature(ak *ecdsa.PublicKey, c Certified) error {
	s, err := tpm2.Unmarshal[tpm2.TPMTSignature](c.Signature)
	if err != nil {
		return err
	}
	if s.SigAlg != tpm2.TPMAlgECDSA {
		return errors.New("it is not ECDSA")
	}
	ecc, err := s.Signature.ECDSA()
	if err != nil {
		return err
	}
	if ecc.Hash != tpm2.TPMAlgSHA256 {
		return errors.New("it is not over a SHA-256")
	}
	digest := sha256.Sum256(c.Attestation)
	if !ecdsa.Verify(ak, digest[:], new(big.Int).SetBytes(ecc.SignatureR.Buffer), new(big.Int).SetBytes(ecc.SignatureS.Buffer)) {
		return errors.New("it is not the attestation key's")
	}
	return nil
}
