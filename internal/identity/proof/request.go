package proof

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// ErrInvalid says that a proof does not hold. Every error about what a station sent is one.
var ErrInvalid = errors.New("the TPM's proof does not hold")

// SecretLen is the length in bytes of the secret in a challenge, and of a nonce. The
// name hash of an endorsement key (SHA-256) bounds a secret (part 1, 24).
const SecretLen = 32

// Request is what a station shows of its TPM. The keys are public areas
// (TPMT_PUBLIC, part 2, 12.2.4) as the TPM marshals them.
type Request struct {
	// EK is the endorsement key, RSA 2048 by the TCG's default template (L-1).
	EK []byte
	// EKCertificate is its maker's certificate in DER; empty where the TPM has none.
	EKCertificate []byte
	// AK signs what the TPM attests, Key is the station's identity. Both are ECDSA P-256.
	AK, Key []byte
}

// Applicant is a request whose form is in order. Nothing of it is proved yet.
type Applicant struct {
	// EKSHA256 is the SHA-256, in lower-case hexadecimal, of the endorsement key's DER
	// SubjectPublicKeyInfo: what people compare.
	EKSHA256 string
	// Key is the identity key.
	Key *ecdsa.PublicKey

	ek          *tpm2.TPMTPublic
	ekSPKI      []byte
	certificate *x509.Certificate
	akName      []byte
}

// Parse checks the form of a request: the templates and attributes of its keys, and
// that an endorsement certificate is of that key.
func Parse(r Request) (*Applicant, error) {
	var a Applicant
	var err error
	if a.ek, a.ekSPKI, err = parseEK(r.EK); err != nil {
		return nil, invalid("endorsement key", err)
	}
	sum := sha256.Sum256(a.ekSPKI)
	a.EKSHA256 = hex.EncodeToString(sum[:])
	if len(r.EKCertificate) > 0 {
		if a.certificate, err = parseCertificate(r.EKCertificate, a.ekSPKI); err != nil {
			return nil, invalid("endorsement certificate", err)
		}
	}
	ak, err := parseAK(r.AK)
	if err != nil {
		return nil, invalid("attestation key", err)
	}
	a.akName = ak.name
	key, err := parseKey(r.Key)
	if err != nil {
		return nil, invalid("identity key", err)
	}
	a.Key = key.public
	return &a, nil
}

func invalid(what string, err error) error { return fmt.Errorf("%w: %s: %w", ErrInvalid, what, err) }

// Challenge seals a secret of SecretLen bytes so that only the TPM with this
// endorsement key can open it, and only if it holds this attestation key
// (TPM2_MakeCredential, part 1, 24).
func (a *Applicant) Challenge(secret []byte) (credential, encryptedSecret []byte, err error) {
	to, err := tpm2.ImportEncapsulationKey(a.ek)
	if err != nil {
		return nil, nil, invalid("endorsement key", err)
	}
	credential, encryptedSecret, err = tpm2.CreateCredential(rand.Reader, to, a.akName, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("make a challenge for the TPM: %w", err)
	}
	return credential, encryptedSecret, nil
}

// named is an ECDSA P-256 key with the name that its TPM gives it (part 1, 16).
type named struct {
	public *ecdsa.PublicKey
	name   []byte
}

func parseEK(area []byte) (*tpm2.TPMTPublic, []byte, error) {
	public, err := unmarshal(area)
	if err != nil {
		return nil, nil, err
	}
	if public.Type != tpm2.TPMAlgRSA {
		return nil, nil, errors.New("it is not made by the TCG's template: it is no RSA key")
	}
	key, err := tpm2.Pub(*public)
	if err != nil {
		return nil, nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, nil, err
	}
	// All but the key itself must be as in the template: an object under another one
	// could be made from anybody's key.
	bare := *public
	bare.Unique = tpm2.RSAEKTemplate.Unique
	if !bytes.Equal(tpm2.Marshal(bare), tpm2.Marshal(tpm2.RSAEKTemplate)) {
		return nil, nil, errors.New("it is not made by the TCG's template for RSA 2048")
	}
	return public, spki, nil
}

func parseAK(area []byte) (named, error) {
	k, attributes, err := parseSigner(area)
	if err == nil && !attributes.Restricted {
		err = errors.New("it is not restricted, so it may sign what no TPM has attested")
	}
	return k, err
}

// ParseKey takes the public area of an identity key, whose form it checks.
func ParseKey(area []byte) (*ecdsa.PublicKey, error) {
	k, err := parseKey(area)
	if err != nil {
		return nil, invalid("identity key", err)
	}
	return k.public, nil
}

func parseKey(area []byte) (named, error) {
	k, attributes, err := parseSigner(area)
	if err == nil && attributes.Restricted {
		err = errors.New("it is restricted, so it cannot sign a TLS handshake")
	}
	return k, err
}

// parseSigner takes an ECDSA P-256 key that was made in its TPM, never leaves it and
// does nothing but sign.
func parseSigner(area []byte) (named, tpm2.TPMAObject, error) {
	fault := func(err error) (named, tpm2.TPMAObject, error) { return named{}, tpm2.TPMAObject{}, err }
	public, err := unmarshal(area)
	if err != nil {
		return fault(err)
	}
	a := public.ObjectAttributes
	switch {
	case !a.FixedTPM || !a.FixedParent:
		return fault(errors.New("it is not fixed to its TPM"))
	case !a.SensitiveDataOrigin:
		return fault(errors.New("it was not made in the TPM"))
	case !a.SignEncrypt || a.Decrypt:
		return fault(errors.New("it is not for signing alone"))
	case public.NameAlg != tpm2.TPMAlgSHA256:
		return fault(errors.New("its name is not a SHA-256"))
	case public.Type != tpm2.TPMAlgECC:
		return fault(errors.New("it is no elliptic curve key"))
	}
	parameters, err := public.Parameters.ECCDetail()
	if err != nil {
		return fault(err)
	}
	point, err := public.Unique.ECC()
	if err != nil {
		return fault(err)
	}
	if parameters.CurveID != tpm2.TPMECCNistP256 || parameters.Scheme.Scheme != tpm2.TPMAlgECDSA {
		return fault(errors.New("it is not for ECDSA on P-256"))
	}
	key, err := tpm2.ECDSAPub(parameters, point)
	if err != nil {
		return fault(err)
	}
	if key.Curve != elliptic.P256() {
		return fault(errors.New("it is not on P-256"))
	}
	if _, err := key.ECDH(); err != nil { // is the point on the curve at all?
		return fault(err)
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return fault(err)
	}
	return named{key, name.Buffer}, a, nil
}

// unmarshal takes one public area and nothing after it.
func unmarshal(area []byte) (*tpm2.TPMTPublic, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](area)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tpm2.Marshal(*public), area) {
		return nil, errors.New("it is not written as a TPM writes it")
	}
	return public, nil
}
