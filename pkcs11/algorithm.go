package pkcs11

import (
	"crypto"
	_ "crypto/sha256" // registers the hashes that signature schemes name
	_ "crypto/sha512"
	"fmt"
	"strings"
)

// Mechanism is a CK_MECHANISM_TYPE.
type Mechanism uint

// The mechanisms of PKCS#11 v2.40 (Mechanisms Specification, sections 2.1 and 2.3) that the built-in algorithms use.
const (
	MechanismRSAPKCSKeyPairGen Mechanism = 0x00000000 // CKM_RSA_PKCS_KEY_PAIR_GEN
	MechanismRSAPKCS           Mechanism = 0x00000001 // CKM_RSA_PKCS
	MechanismECKeyPairGen      Mechanism = 0x00001040 // CKM_EC_KEY_PAIR_GEN
	MechanismECDSA             Mechanism = 0x00001041 // CKM_ECDSA
)

// KeyType is a CK_KEY_TYPE.
type KeyType uint

// Key types of PKCS#11 v2.40.
const (
	KeyTypeRSA KeyType = 0x00000000 // CKK_RSA
	KeyTypeEC  KeyType = 0x00000003 // CKK_EC
)

// SignatureForm says how what C_Sign returns becomes an X.509 signature value.
type SignatureForm string

// Signature forms.
const (
	// SignatureRSAPKCS1 is used as it is; the input is a DigestInfo (RFC 8017, section 9.2).
	SignatureRSAPKCS1 SignatureForm = "rsa-pkcs1"
	// SignatureECDSA comes as r || s of equal length (PKCS#11 v2.40, Mechanisms, 2.3.1)
	// and is turned into the DER Ecdsa-Sig-Value of RFC 3279, section 2.2.3.
	SignatureECDSA SignatureForm = "ecdsa"
)

// Algorithm is everything that is particular to one kind of key: how it is
// generated on a token and how it signs there. It is a value, so that another
// algorithm (a vendor's SM2, say) is another value and no new switch.
type Algorithm struct {
	// Name is what configuration and the dispatch contract call it, such as "rsa2048".
	Name string
	// KeyType is the CKA_KEY_TYPE of the generated pair.
	KeyType KeyType
	// Generate is the key pair generation mechanism.
	Generate Mechanism
	// ModulusBits is CKA_MODULUS_BITS for RSA, else 0.
	ModulusBits int
	// ECParams is the DER of CKA_EC_PARAMS (a named curve OID) for EC, else nil.
	ECParams []byte
	// Sign is the mechanism that signs a digest.
	Sign Mechanism
	// Hash is the digest that requests and challenges are signed over.
	Hash crypto.Hash
	// Form is the shape of the signature.
	Form SignatureForm
}

// Algorithms returns the built-in algorithms.
func Algorithms() []Algorithm {
	rsa := func(name string, bits int) Algorithm {
		return Algorithm{
			Name: name, KeyType: KeyTypeRSA, Generate: MechanismRSAPKCSKeyPairGen, ModulusBits: bits,
			Sign: MechanismRSAPKCS, Hash: crypto.SHA256, Form: SignatureRSAPKCS1,
		}
	}
	ec := func(name string, params []byte, hash crypto.Hash) Algorithm {
		return Algorithm{
			Name: name, KeyType: KeyTypeEC, Generate: MechanismECKeyPairGen, ECParams: params,
			Sign: MechanismECDSA, Hash: hash, Form: SignatureECDSA,
		}
	}
	return []Algorithm{
		rsa("rsa2048", 2048),
		rsa("rsa3072", 3072),
		rsa("rsa4096", 4096),
		// OIDs 1.2.840.10045.3.1.7 (prime256v1) and 1.3.132.0.34 (secp384r1), RFC 5480.
		ec("ec-p256", []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, crypto.SHA256),
		ec("ec-p384", []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}, crypto.SHA384),
	}
}

// AlgorithmByName finds a built-in algorithm; the error lists the names there are.
func AlgorithmByName(name string) (Algorithm, error) {
	all := Algorithms()
	names := make([]string, len(all))
	for i, a := range all {
		if a.Name == name {
			return a, nil
		}
		names[i] = a.Name
	}
	return Algorithm{}, fmt.Errorf("unknown key algorithm %q: use one of %s", name, strings.Join(names, ", "))
}
