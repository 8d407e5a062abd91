package identity

import (
	"errors"

	"github.com/google/go-tpm/tpm2"

	"github.com/usbkeyd/usbkeyd/internal/identity/proof"
)

// ekCertificateIndex is where the certificate of an RSA 2048 endorsement key is (TCG EK
// Credential Profile, 2.2.1.4).
const ekCertificateIndex tpm2.TPMHandle = 0x01c00002

// Request is what the station shows of its TPM. It returns the errors of Sign.
func (k *Key) Request() (proof.Request, error) {
	r := proof.Request{AK: k.ak.Public, Key: k.key.Public}
	err := k.tpm.do("read the TPM's endorsement key", func(s *scope) error {
		ek, err := s.primary(tpm2.TPMRHEndorsement, tpm2.RSAEKTemplate)
		if err != nil {
			return err
		}
		r.EK = tpm2.Marshal(*ek.public)
		r.EKCertificate, err = s.readNV(ekCertificateIndex)
		return err
	})
	return r, err
}

// readNV reads a whole index that anybody may read; nil when there is none.
func (s *scope) readNV(index tpm2.TPMHandle) ([]byte, error) {
	public, err := tpm2.NVReadPublic{NVIndex: index}.Execute(s)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	about, err := public.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	const most = 512 // of one read that every TPM takes
	at := tpm2.AuthHandle{Handle: index, Name: public.NVName, Auth: tpm2.PasswordAuth(nil)}
	out := make([]byte, 0, about.DataSize)
	for uint16(len(out)) < about.DataSize {
		part, err := tpm2.NVRead{AuthHandle: at, NVIndex: tpm2.NamedHandle{Handle: index, Name: public.NVName},
			Size: min(most, about.DataSize-uint16(len(out))), Offset: uint16(len(out))}.Execute(s)
		if errors.Is(err, tpm2.TPMRCNVUninitialized) {
			return nil, nil // a place for one, and none in it
		}
		if err != nil {
			return nil, err
		}
		if len(part.Data.Buffer) == 0 {
			return nil, errors.New("the TPM gives nothing of its certificate")
		}
		out = append(out, part.Data.Buffer...)
	}
	return out, nil
}

// Answer opens the secret of a challenge (TPM2_ActivateCredential). A challenge for
// another TPM, or for another attestation key, is ErrCleared.
func (k *Key) Answer(credential, encryptedSecret []byte) ([]byte, error) {
	var secret []byte
	err := k.tpm.do("answer the challenge with the TPM", func(s *scope) error {
		if err := s.unload(); err != nil { // three places: two keys, and a root of each
			return err
		}
		ak, err := s.attestation(k)
		if err != nil {
			return err
		}
		ek, err := s.primary(tpm2.TPMRHEndorsement, tpm2.RSAEKTemplate)
		if err != nil {
			return err
		}
		session, err := s.endorsement()
		if err != nil {
			return err
		}
		opened, err := tpm2.ActivateCredential{
			ActivateHandle: ak.auth(),
			KeyHandle:      tpm2.AuthHandle{Handle: ek.handle, Name: ek.name, Auth: session},
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: credential},
			Secret:         tpm2.TPM2BEncryptedSecret{Buffer: encryptedSecret},
		}.Execute(s)
		if err != nil {
			return err
		}
		secret = opened.CertInfo.Buffer
		return nil
	})
	return secret, err
}

// endorsement is a session with the policy of the endorsement key's template: whoever
// has the endorsement hierarchy's authorisation, which is empty, may use the key.
func (s *scope) endorsement() (tpm2.Session, error) {
	session, err := s.session(tpm2.PolicySession(s, tpm2.TPMAlgSHA256, 16))
	if err != nil {
		return nil, err
	}
	_, err = tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		PolicySession: session.Handle(),
		NonceTPM:      session.NonceTPM(),
	}.Execute(s)
	return session, err
}

// Certify has the attestation key say of the identity key that it is in this TPM, over
// a nonce. It returns the errors of Sign.
func (k *Key) Certify(nonce []byte) (proof.Certified, error) {
	var c proof.Certified
	err := k.tpm.do("have the TPM certify the identity key", func(s *scope) error {
		key, err := s.identity(k)
		if err != nil {
			return err
		}
		ak, err := s.attestation(k)
		if err != nil {
			return err
		}
		made, err := tpm2.Certify{
			ObjectHandle: key.auth(), SignHandle: ak.auth(),
			QualifyingData: tpm2.TPM2BData{Buffer: nonce},
			InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		}.Execute(s)
		if err != nil {
			return err
		}
		c = proof.Certified{Attestation: made.CertifyInfo.Bytes(), Signature: tpm2.Marshal(made.Signature)}
		return nil
	})
	return c, err
}

// attestation loads the attestation key for the scope; its root is flushed at once.
func (s *scope) attestation(k *Key) (object, error) {
	under := &scope{TPM: s.TPM}
	srk, err := under.root()
	if err != nil {
		return object{}, errors.Join(err, under.end())
	}
	ak, err := s.load(srk, k.ak)
	return ak, errors.Join(err, under.end())
}
