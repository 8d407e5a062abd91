package central

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/stationserver"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
	"github.com/usbkeyd/usbkeyd/internal/identity/proof"
)

// approvalPoll is how long a station that waits for a person is to wait before it asks again.
const approvalPoll = 5 // seconds

// strangersAtOnce is how many are worked for at once who have no certificate yet: fewer
// than the store has readers, so that they do not hold up the stations.
const strangersAtOnce = 2

// admit waits until there is a place for one more stranger.
func (s *Server) admit(ctx context.Context) (leave func(), err error) {
	select {
	case s.strangers <- struct{}{}:
		return func() { <-s.strangers }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// PostEnrollment implements the operation.
func (s *stationAPI) PostEnrollment(ctx context.Context, r stationserver.PostEnrollmentRequestObject) (stationserver.PostEnrollmentResponseObject, error) {
	leave, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	token := hexSHA256([]byte(r.Body.JoinToken))
	if err := s.store.CheckToken(ctx, token, r.Body.Station); err != nil {
		return nil, err
	}
	infoOf(ctx).station = r.Body.Station
	tpm := r.Body.Tpm
	request := proof.Request{EK: tpm.EndorsementKey, AK: tpm.AttestationKey, Key: tpm.IdentityKey}
	if tpm.EndorsementCertificate != nil {
		request.EKCertificate = *tpm.EndorsementCertificate
	}
	applicant, err := proof.Parse(request)
	if err != nil {
		return nil, problem(api.ProblemProofInvalid, err.Error())
	}
	spki, err := x509.MarshalPKIXPublicKey(applicant.Key)
	if err != nil {
		return nil, err
	}
	secret, nonce := make([]byte, proof.SecretLen), make([]byte, proof.SecretLen)
	for _, b := range [][]byte{secret, nonce} {
		if _, err := rand.Read(b); err != nil {
			return nil, err
		}
	}
	credential, encrypted, err := applicant.Challenge(secret)
	if err != nil {
		return nil, problem(api.ProblemProofInvalid, err.Error())
	}
	e, err := s.store.BeginEnrollment(ctx, store.Showing{
		TokenSHA256: token, Station: r.Body.Station,
		EKSHA256: applicant.EKSHA256, Certified: applicant.CheckMaker(s.cfg.TPMMakers, s.cfg.Clock()) == nil,
		AttestationKey: request.AK, IdentityKey: request.Key, KeySHA256: hexSHA256(spki),
		Nonce: nonce, SecretSHA256: hexSHA256(secret),
	})
	if err != nil {
		return nil, err
	}
	return stationserver.PostEnrollment200JSONResponse{EnrollmentId: e.ID, Credential: credential, EncryptedSecret: encrypted, Nonce: nonce}, nil
}

// PostEnrollmentProof implements the operation.
func (s *stationAPI) PostEnrollmentProof(ctx context.Context, r stationserver.PostEnrollmentProofRequestObject) (stationserver.PostEnrollmentProofResponseObject, error) {
	leave, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if infoOf(ctx).station, err = s.store.Challenged(ctx, r.EnrollmentId); err != nil {
		return nil, err
	}
	// The name and the key are those of the enrolment; sign is told them by check.
	var key *ecdsa.PublicKey
	check := func(attestationKey, identityKey, nonce []byte) (err error) {
		if err = checkCertified(r.Body.Certified)(attestationKey, identityKey, nonce); err == nil {
			key, err = proof.ParseKey(identityKey)
		}
		return err
	}
	e, st, err := s.store.ProveEnrollment(ctx, r.EnrollmentId, hexSHA256(r.Body.Secret), check, func(name string, _ time.Time) ([]byte, time.Time, error) {
		return signed(s.stationRoot.SignTPMStation(name, key))
	})
	if err != nil {
		return nil, err
	}
	if st.Name == "" {
		after := approvalPoll
		return stationserver.PostEnrollmentProof202JSONResponse{
			Body: api.EnrollmentWaits{EndorsementKeySha256: e.EKSHA256}, Headers: stationserver.PostEnrollmentProof202ResponseHeaders{RetryAfter: &after},
		}, nil
	}
	return stationserver.PostEnrollmentProof200JSONResponse(s.credentialOf(st)), nil
}

// PostRenewal implements the operation.
func (s *stationAPI) PostRenewal(ctx context.Context, r stationserver.PostRenewalRequestObject) (stationserver.PostRenewalResponseObject, error) {
	caller := callerOf(ctx)
	if caller.station.Tier == store.TierFile && s.cfg.Clock().After(caller.certificate.NotAfter) {
		return nil, problem(api.ProblemCertificateExpired, "a key in a file proves nothing: the station is to be enrolled again")
	}
	if caller.station.Tier == store.TierTPM && r.Body.Certified == nil {
		nonce := make([]byte, proof.SecretLen)
		if _, err := rand.Read(nonce); err != nil {
			return nil, err
		}
		if err := s.store.ChallengeStation(ctx, caller.station.Name, caller.station.PublicKeySHA256, nonce); err != nil {
			return nil, err
		}
		return stationserver.PostRenewal202JSONResponse{Nonce: nonce}, nil
	}
	check := func([]byte, []byte, []byte) error { return errors.New("nothing is certified") }
	if r.Body.Certified != nil {
		check = checkCertified(*r.Body.Certified)
	}
	st, err := s.store.RenewStation(ctx, caller.station.Name, caller.station.PublicKeySHA256, check, func(name string, _ time.Time) ([]byte, time.Time, error) {
		if caller.station.Tier == store.TierTPM {
			return signed(s.stationRoot.SignTPMStation(name, caller.certificate.PublicKey))
		}
		return signed(s.stationRoot.SignStation(name, caller.certificate.PublicKey))
	})
	if err != nil {
		return nil, err
	}
	return stationserver.PostRenewal200JSONResponse{Certificate: st.Certificate, NotAfter: st.NotAfter}, nil
}

func checkCertified(c api.Certified) store.CheckCertified {
	return func(attestationKey, identityKey, nonce []byte) error {
		return proof.CheckCertified(attestationKey, identityKey, nonce, proof.Certified{Attestation: c.Attestation, Signature: c.Signature})
	}
}

func signed(cert *x509.Certificate, err error) ([]byte, time.Time, error) {
	if err != nil {
		return nil, time.Time{}, err
	}
	return cert.Raw, cert.NotAfter, nil
}

// credentialOf is what a station gets when it is enrolled.
func (s *Server) credentialOf(st store.Station) api.StationCredential {
	roots := rawCertificates(s.ca.Roots())
	return api.StationCredential{Name: st.Name, Certificate: st.Certificate, ServerTrust: s.stationRoot.Certificate().Raw, CertificateTrust: &roots}
}
