package identity

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// maxSealed is what a TPM seals in one object, in bytes (part 2, 11.1.14).
const maxSealed = 128

// doUnseal tells classify that a failed policy means other PCRs.
const doUnseal = "open a sealed secret with the TPM"

// sealed is a secret wrapped for the storage root key.
type sealed struct {
	Version int  `json:"version"`
	Blob    blob `json:"blob"`
	// PCRs are the registers of the SHA-256 bank to whose values it is bound; none: any.
	PCRs []uint `json:"pcrs,omitempty"`
}

// LastPCR is the highest register that secrets may be bound to.
const LastPCR = 23

// Seal wraps up to 128 bytes so that this TPM alone opens them; with pcrs (0 to
// LastPCR, SHA-256 bank) only while these have the values of now. It goes to the TPM
// encrypted, so that nobody reads it on the bus.
func (t *TPM) Seal(secret []byte, pcrs []uint) ([]byte, error) {
	if len(secret) == 0 || len(secret) > maxSealed {
		return nil, fmt.Errorf("a secret of %d bytes is not sealed; 1 to %d are", len(secret), maxSealed)
	}
	out := sealed{Version: keptVersion, PCRs: pcrs}
	err := t.do("seal a secret with the TPM", func(s *scope) error {
		srk, err := s.root()
		if err != nil {
			return err
		}
		template := tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true, UserWithAuth: len(pcrs) == 0},
		}
		if len(pcrs) > 0 {
			if template.AuthPolicy, err = s.policyOf(pcrs); err != nil {
				return err
			}
		}
		out.Blob, err = s.create(srk, template, secret)
		return err
	})
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(out, "", "  ")
}

// Unseal opens what Seal returned: ErrCleared for another TPM's, ErrPCRs where the
// registers have other values, ErrDamaged for anything else; and the errors of Sign.
func (t *TPM) Unseal(data []byte) ([]byte, error) {
	var in sealed
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if in.Version != keptVersion || slices.ContainsFunc(in.PCRs, func(p uint) bool { return p > LastPCR }) {
		return nil, fmt.Errorf("%w: version %d, PCRs %v", ErrDamaged, in.Version, in.PCRs)
	}
	var secret []byte
	err := t.do(doUnseal, func(s *scope) error {
		if err := s.unload(); err != nil { // the root has to stay, for the session's salt
			return err
		}
		srk, err := s.root()
		if err != nil {
			return err
		}
		o, err := s.load(srk, in.Blob)
		if err != nil {
			return err
		}
		session, err := s.unsealer(srk, in.PCRs)
		if err != nil {
			return err
		}
		at := tpm2.AuthHandle{Handle: o.handle, Name: o.name, Auth: session}
		opened, err := tpm2.Unseal{ItemHandle: at}.Execute(s)
		if err != nil {
			return err
		}
		secret = opened.OutData.Buffer
		return nil
	})
	return secret, err
}

// unsealer is the session in which a secret comes out encrypted, under a salt that only
// the TPM's root key can read (part 1, 21); with pcrs it is a policy session.
func (s *scope) unsealer(srk object, pcrs []uint) (tpm2.Session, error) {
	options := []tpm2.AuthOption{tpm2.Salted(srk.handle, *srk.public), tpm2.AESEncryption(128, tpm2.EncryptOut)}
	if len(pcrs) == 0 {
		return s.session(tpm2.HMACSession(s, tpm2.TPMAlgSHA256, 16, options...))
	}
	session, err := s.session(tpm2.PolicySession(s, tpm2.TPMAlgSHA256, 16, options...))
	if err != nil {
		return nil, err
	}
	return session, s.policyPCR(session, pcrs)
}

// session has a session flushed at the end of the scope, whatever becomes of it: one
// that is made for a single command would stay in the TPM when that fails.
func (s *scope) session(session tpm2.Session, _ func() error, err error) (tpm2.Session, error) {
	if err == nil {
		s.flushLater(session.Handle())
	}
	return session, err
}

// policyPCR is TPM2_PolicyPCR over the values of now.
func (s *scope) policyPCR(session tpm2.Session, pcrs []uint) error {
	_, err := tpm2.PolicyPCR{
		PolicySession: session.Handle(),
		Pcrs: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
			Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...),
		}}},
	}.Execute(s)
	return err
}

// policyOf is the digest of policyPCR.
func (s *scope) policyOf(pcrs []uint) (digest tpm2.TPM2BDigest, err error) {
	session, err := s.session(tpm2.PolicySession(s, tpm2.TPMAlgSHA256, 16, tpm2.Trial()))
	if err != nil {
		return digest, err
	}
	if err := s.policyPCR(session, pcrs); err != nil {
		return digest, err
	}
	got, err := tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute(s)
	if err != nil {
		return digest, err
	}
	return got.PolicyDigest, nil
}
