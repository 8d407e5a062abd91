package agent

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/identity/proof"
)

// enrolPoll is between two questions whether a person has approved.
const enrolPoll = time.Second

// TPM is what a station's TPM does to have its key believed.
type TPM interface {
	crypto.Signer
	// Request is what it shows.
	Request() (proof.Request, error)
	// Answer opens the secret of a challenge.
	Answer(credential, encryptedSecret []byte) ([]byte, error)
	// Certify says, over a nonce, that the key is in it.
	Certify(nonce []byte) (proof.Certified, error)
}

// JoinToken lets one TPM enrol. It is a secret, and prints as [redacted].
type JoinToken string

const redacted = "[redacted]"

// Format implements fmt.Formatter.
func (JoinToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) } // as fmt itself does

// MarshalJSON implements json.Marshaler.
func (JoinToken) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements slog.LogValuer.
func (JoinToken) LogValue() slog.Value { return slog.StringValue(redacted) }

// Enrolment is how a station without a certificate asks for one.
type Enrolment struct {
	URLs      []string
	Roots     *x509.CertPool
	Station   string
	JoinToken JoinToken
	TPM       TPM
	// Waits is told that a person has to approve, once, with the endorsement key's SHA-256
	// as the server has it.
	Waits func(endorsementKeySHA256 string)
}

// Enroll proves the station's TPM to the central server and returns the certificate.
// While a person has yet to approve it asks again, until ctx ends. Begun again with
// the same keys and join token it goes on where it was.
func Enroll(ctx context.Context, e Enrolment) (*x509.Certificate, error) {
	c, err := NewCentral(e.URLs, tls.Certificate{}, e.Roots)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	shown, err := e.TPM.Request()
	if err != nil {
		return nil, err
	}
	challenge, err := c.beginEnrolment(ctx, e, shown)
	if err != nil {
		return nil, err
	}
	secret, err := e.TPM.Answer(challenge.Credential, challenge.EncryptedSecret)
	if err != nil {
		return nil, err
	}
	proved, err := e.TPM.Certify(challenge.Nonce)
	if err != nil {
		return nil, err
	}
	answer := api.EnrollmentProof{Secret: secret, Certified: api.Certified{Attestation: proved.Attestation, Signature: proved.Signature}}
	for told := false; ; {
		der, waits, err := c.proveEnrolment(ctx, challenge.EnrollmentId, answer)
		if err != nil {
			return nil, err
		}
		if waits == "" {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("the station's certificate: %w", err)
			}
			return cert, checkOwn(cert, e.TPM, e.Station)
		}
		if !told && e.Waits != nil {
			e.Waits(waits)
			told = true
		}
		if err := pause(ctx, enrolPoll); err != nil {
			return nil, err
		}
	}
}

func (c *Central) beginEnrolment(ctx context.Context, e Enrolment, shown proof.Request) (out api.EnrollmentChallenge, err error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	r := api.EnrollmentRequest{JoinToken: string(e.JoinToken), Station: e.Station, Tpm: api.TpmKeys{
		EndorsementKey: shown.EK, AttestationKey: shown.AK, IdentityKey: shown.Key,
	}}
	if len(shown.EKCertificate) > 0 {
		r.Tpm.EndorsementCertificate = &shown.EKCertificate
	}
	resp, err := c.api.PostEnrollment(ctx, r)
	_, err = c.call(resp, err, func(_ int, body []byte) error { return unmarshal(body, &out) }, http.StatusOK)
	return out, wrap("enrolment", err)
}

// proveEnrolment returns the certificate, or the endorsement key that waits for approval.
func (c *Central) proveEnrolment(ctx context.Context, id string, p api.EnrollmentProof) (der []byte, waits string, err error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	resp, err := c.api.PostEnrollmentProof(ctx, id, p)
	_, err = c.call(resp, err, func(status int, body []byte) error {
		if status == http.StatusAccepted {
			var w api.EnrollmentWaits
			err := unmarshal(body, &w)
			waits = w.EndorsementKeySha256
			return err
		}
		var s api.StationCredential
		err := unmarshal(body, &s)
		der = s.Certificate
		return err
	}, http.StatusOK, http.StatusAccepted)
	return der, waits, wrap("proof of the TPM", err)
}
