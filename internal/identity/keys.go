package identity

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// blob is an object that a TPM has wrapped for its storage root key: TPMT_PUBLIC and
// the content of TPM2B_PRIVATE (part 2, 12.2.4 and 12.3.7).
type blob struct {
	Public  []byte `json:"public"`
	Private []byte `json:"private"`
}

// kept is what is written down of a station's keys. It is no secret to anybody but
// is of use to the TPM that made it only.
type kept struct {
	Version int `json:"version"`
	// AK attests, Key is the identity.
	AK  blob `json:"attestationKey"`
	Key blob `json:"identityKey"`
}

const keptVersion = 1

// signer is the template of both keys: ECDSA P-256 with SHA-256, made in the TPM and
// fixed to it. noDA: somebody else's wrong guesses do not shut the station out.
func signer(restricted bool) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
			Restricted: restricted, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
	}
}

// MakeKeys has the TPM make an attestation key and an identity key. Whoever calls it
// keeps what it returns; LoadKey takes it.
func (t *TPM) MakeKeys() ([]byte, error) {
	k := kept{Version: keptVersion}
	err := t.do("make the station's keys in the TPM", func(s *scope) error {
		srk, err := s.root()
		if err != nil {
			return err
		}
		if k.AK, err = s.create(srk, signer(true), nil); err != nil {
			return err
		}
		k.Key, err = s.create(srk, signer(false), nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(k, "", "  ")
}

// Key is the station's identity key. It implements crypto.Signer, for TLS; see Sign.
type Key struct {
	tpm     *TPM
	ak, key blob
	public  *ecdsa.PublicKey
}

// LoadKey takes what MakeKeys returned; anything else is ErrDamaged. The TPM is not
// asked yet: whether it knows the key turns out when it is used.
func (t *TPM) LoadKey(data []byte) (*Key, error) {
	var k kept
	if err := json.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if k.Version != keptVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrDamaged, k.Version, keptVersion)
	}
	if _, err := publicOf(k.AK); err != nil {
		return nil, fmt.Errorf("%w: attestation key: %w", ErrDamaged, err)
	}
	public, err := publicOf(k.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: identity key: %w", ErrDamaged, err)
	}
	return &Key{tpm: t, ak: k.AK, key: k.Key, public: public}, nil
}

func publicOf(b blob) (*ecdsa.PublicKey, error) {
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](b.Public)
	if err != nil {
		return nil, err
	}
	public, err := tpm2.Pub(*area)
	if err != nil {
		return nil, err
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("it is no elliptic curve key")
	}
	return key, nil
}

// object is something that is loaded.
type object struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public *tpm2.TPMTPublic
}

// auth is the object with its empty authorisation value.
func (o object) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: o.handle, Name: o.name, Auth: tpm2.PasswordAuth(nil)}
}

// root makes the storage root key: the same one each time, until the TPM is cleared.
// It is ECC P-256, which a TPM makes fast.
func (s *scope) root() (object, error) {
	return s.primary(tpm2.TPMRHOwner, tpm2.ECCSRKTemplate)
}

func (s *scope) primary(hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic) (object, error) {
	made, err := tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(template)}.Execute(s)
	if err != nil {
		return object{}, err
	}
	s.flushLater(made.ObjectHandle)
	public, err := made.OutPublic.Contents()
	return object{made.ObjectHandle, made.Name, public}, err
}

// create makes an object under a parent. Sensitive data go to the TPM encrypted.
func (s *scope) create(parent object, template tpm2.TPMTPublic, data []byte) (blob, error) {
	at := parent.auth()
	cmd := tpm2.Create{InPublic: tpm2.New2B(template)}
	if data != nil {
		session, err := s.session(tpm2.HMACSession(s, tpm2.TPMAlgSHA256, 16,
			tpm2.Salted(parent.handle, *parent.public), tpm2.AESEncryption(128, tpm2.EncryptIn)))
		if err != nil {
			return blob{}, err
		}
		at.Auth = session
		cmd.InSensitive = tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: data}),
		}}
	}
	cmd.ParentHandle = at
	made, err := cmd.Execute(s)
	if err != nil {
		return blob{}, err
	}
	return blob{Public: made.OutPublic.Bytes(), Private: made.OutPrivate.Buffer}, nil
}

// load loads an object until the end of the scope.
func (s *scope) load(parent object, b blob) (object, error) {
	o, err := s.loadFor(parent, b)
	if err == nil {
		s.flushLater(o.handle)
	}
	return o, err
}

// loadFor loads an object for as long as the caller wants it.
func (s *scope) loadFor(parent object, b blob) (object, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](b.Public)
	if err != nil {
		return object{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	got, err := tpm2.Load{
		ParentHandle: parent.auth(),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: b.Private},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](b.Public),
	}.Execute(s)
	if err != nil {
		return object{}, err
	}
	return object{got.ObjectHandle, got.Name, public}, nil
}
