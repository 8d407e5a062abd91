package conformance

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
)

// token is a unit on its way, with the key of a token that is played.
type token struct {
	*scene
	by         *station
	lease      api.Lease
	epoch      int64
	generation int32
	key        crypto.Signer
	csr        []byte
	serial     string
	keyID      string
	escrow     string
	soPIN      []byte // sealed
	userPIN    []byte
	cert       api.IssuedCertificate
}

// token leases a unit of a new order for a station and makes a key for it.
func (s *scene) token(by *station) (*token, error) {
	l, err := s.one(by)
	if err != nil {
		return nil, err
	}
	return s.tokenOf(by, l)
}

// at begins a check with a token of the first station that has come to a stage.
func at(stage, then func(*token) error) func(*scene) error {
	return func(s *scene) error {
		t, err := s.token(s.a())
		if err == nil {
			err = stage(t)
		}
		if err != nil {
			return err
		}
		return then(t)
	}
}

func (s *scene) tokenOf(by *station, l api.Lease) (*token, error) {
	t := &token{scene: s, by: by, lease: l, epoch: l.Epoch, generation: l.Generation}
	return t, before(t.blank())
}

// blank puts another token in its place, with another key.
func (t *token) blank() error {
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	t.serial, t.keyID, t.escrow = "C"+hex.EncodeToString(random[:7]), hex.EncodeToString(random), uuid.NewString()
	var err error
	if t.key, err = t.NewKey(); err != nil {
		return err
	}
	if t.csr, err = t.request(t.key, t.lease); err != nil {
		return err
	}
	if t.soPIN, err = envelope.Seal(t.so, []byte("sample-so-pin")); err != nil {
		return err
	}
	t.userPIN, err = envelope.Seal(t.user, []byte("sample-user-pin"))
	return err
}

// request makes the PKCS#10 of a lease's order.
func (d *driver) request(key crypto.Signer, l api.Lease) ([]byte, error) {
	data := csr.SubjectData{OrderID: l.OrderId, UnitID: l.UnitId, Sequence: l.Sequence, Of: l.Of, ProductCode: l.ProductCode}
	data.Company.Name, data.Company.USCC = l.Company.Name, l.Company.Uscc
	data.Handler.Name = l.Handler.Name
	if l.Handler.Email != nil {
		data.Handler.Email = *l.Handler.Email
	}
	r, err := d.Profile.Request(data)
	if err != nil {
		return nil, err
	}
	return csr.Build(key, r)
}

func digests(rs []envelope.Recipient) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.SHA256())
	}
	return out
}

func (t *token) putEscrow() (answer, error) {
	return t.by.send(t.ctx, "PUT", "/escrows/"+t.escrow, api.EscrowRequest{
		UnitId: t.lease.UnitId, Epoch: t.epoch, SealedSoPin: t.soPIN, Recipients: digests(t.so),
	})
}

func (t *token) nameEscrow() (answer, error) {
	return t.by.send(t.ctx, "PUT", "/escrows/"+t.escrow+"/token", api.EscrowTokenRequest{TokenSerial: t.serial})
}

// escrowed puts the SO PIN into escrow and names the token.
func (t *token) escrowed() error {
	for _, call := range []func() (answer, error){t.putEscrow, t.nameEscrow} {
		if err := ok(call()); err != nil {
			return before(err)
		}
	}
	return nil
}

func (t *token) csrRequest() api.CsrRequest {
	return api.CsrRequest{Epoch: t.epoch, Csr: t.csr, TokenSerial: t.serial, TokenModel: "sample model", KeyId: t.keyID, EscrowId: t.escrow}
}

func (t *token) path(what string) string {
	return fmt.Sprintf("/units/%s/generations/%d/%s", t.lease.UnitId, t.generation, what)
}

func (t *token) putCSR(r api.CsrRequest) (answer, error) {
	return t.by.send(t.ctx, "PUT", t.path("csr"), r)
}

// bound brings the unit as far as a bound key.
func (t *token) bound() error {
	if err := t.escrowed(); err != nil {
		return err
	}
	return before(answered(nil, 200, 202)(t.putCSR(t.csrRequest())))
}

// collect waits for the certificate.
func (t *token) collect(ctx context.Context) error {
	for end := time.Now().Add(t.Patience); ; {
		a, err := t.by.send(ctx, "GET", t.path("certificate?wait=5"), nil)
		if err != nil {
			return err
		}
		if err := a.is(&t.cert, 200, 202); err != nil {
			return err
		}
		if a.status == 200 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v; want the certificate within %s", a, t.Patience)
		}
		if a.took < time.Second {
			time.Sleep(time.Second - a.took)
		}
	}
}

// leaf is the certificate for the token's key in the CA's answer.
func (t *token) leaf() (*x509.Certificate, error) {
	all, err := csr.ParseBundle(t.cert.Pkcs7)
	if err != nil {
		return nil, fmt.Errorf("the PKCS#7: %w", err)
	}
	for _, c := range all {
		if pub, ok := t.key.Public().(interface{ Equal(crypto.PublicKey) bool }); ok && pub.Equal(c.PublicKey) {
			return c, nil
		}
	}
	return nil, errors.New("the PKCS#7 holds no certificate for the bound key")
}

func (t *token) resultRequest(outcome api.ResultRequestOutcome) api.ResultRequest {
	r := api.ResultRequest{
		Epoch: t.epoch, Outcome: outcome, TokenSerial: t.serial, KeyId: &t.keyID, EscrowId: &t.escrow,
	}
	if outcome == api.Installed {
		to := digests(t.user)
		r.CertificateSerial, r.CertificateSha256 = &t.cert.CertificateSerial, &t.cert.CertificateSha256
		r.SealedUserPin, r.UserPinRecipients = &t.userPIN, &to
		return r
	}
	reason := "conformance"
	r.Reason = &reason
	return r
}

func (t *token) putResult(r api.ResultRequest) (answer, error) {
	return t.by.send(t.ctx, "PUT", t.path("result"), r)
}

// issued brings the unit as far as its certificate.
func (t *token) issued() error {
	if err := t.bound(); err != nil {
		return err
	}
	return before(t.collect(t.ctx))
}

// installed brings the unit as far as INSTALLED.
func (t *token) installed() error {
	if err := t.issued(); err != nil {
		return err
	}
	return before(ok(t.putResult(t.resultRequest(api.Installed))))
}

// adopts proves with a key that the unit's token is here.
func (t *token) adopts(by *station, name string, epoch int64, key crypto.Signer) (answer, error) {
	spki, err := x509.MarshalPKIXPublicKey(t.key.Public())
	if err != nil {
		return answer{}, err
	}
	claim := api.Adoption{
		Station: name, SessionID: by.session.SessionId, UnitID: t.lease.UnitId, Generation: t.generation,
		Epoch: epoch, TokenSerial: t.serial, PublicKey: spki,
	}
	sum := sha256.Sum256(claim.Statement())
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return answer{}, err
	}
	return by.send(t.ctx, "POST", "/units/"+t.lease.UnitId+"/adopt", api.AdoptRequest{
		SessionId: by.session.SessionId, Generation: t.generation, Epoch: epoch, TokenSerial: t.serial,
		PublicKey: spki, Hash: api.AdoptSHA256, Signature: signature,
	})
}
