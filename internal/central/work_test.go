package central_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

// The station's side of the contract, one short method per operation.

func (s *station) sessionRequest() api.SessionRequest {
	return api.SessionRequest{
		InstanceId: s.instance, BootId: "boot-1", ProtocolVersion: api.ProtocolVersion, Version: "test",
		Slots: []api.SlotCapability{{TokenModel: "SoftHSM v2", Algorithms: []string{"ec-p256"}, WorstKeyGenerationSeconds: 1}},
	}
}

func (s *station) open() api.Session {
	s.t.Helper()
	session := must[api.Session](s.t, s.send(http.MethodPut, "/session", s.sessionRequest()), http.StatusOK)
	s.session = session.SessionId
	return session
}

func (s *station) claimRequest(limit int) api.ClaimRequest {
	return api.ClaimRequest{SessionId: s.session, Max: limit, Products: []api.ProductCode{"CERT272353"}}
}

func (s *station) claimAs(key string, limit, wait int) answer {
	s.t.Helper()
	return s.send(http.MethodPost, fmt.Sprintf("/claims?wait=%d", wait), s.claimRequest(limit), "Idempotency-Key", key)
}

// claim leases at most limit units now.
func (s *station) claim(limit int) []api.Lease {
	s.t.Helper()
	return must[api.ClaimAnswer](s.t, s.claimAs(uuid.NewString(), limit, 0), http.StatusOK, http.StatusNoContent).Leases
}

// waits claims in vain, and returns once that was tried, so that from then on it waits.
func (s *station) waits(key string, limit, wait int) <-chan answer {
	s.t.Helper()
	seen := func() time.Time {
		all, err := s.admin.Stations(s.t.Context())
		at := slices.IndexFunc(all, func(st api.Station) bool { return st.Name == s.name })
		if err != nil || at < 0 || all[at].LastSeenAt == nil {
			s.t.Fatalf("station %s was not seen: %v", s.name, err)
		}
		return *all[at].LastSeenAt
	}
	before := seen()
	s.clock.advance(5 * time.Second) // so long after the last time it is written down that a station was seen
	got := make(chan answer, 1)
	go func() { got <- s.claimAs(key, limit, wait) }()
	for deadline := time.Now().Add(patience); !seen().After(before); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the claim does not arrive")
		}
	}
	return got
}

// promptly runs what should take no longer than most: on a busy machine some of five runs may.
func promptly(t *testing.T, what string, most time.Duration, run func(try int) time.Duration) {
	t.Helper()
	var took []time.Duration
	for len(took) < 5 && (len(took) == 0 || slices.Min(took) > most) {
		took = append(took, run(len(took)))
	}
	if slices.Min(took) > most {
		t.Errorf("%s after %s", what, took)
	}
}

func (s *station) beat(unitID string, epoch int64) api.HeartbeatStatus {
	s.t.Helper()
	a := s.send(http.MethodPost, "/heartbeat", api.HeartbeatRequest{SessionId: s.session, Units: []api.HeartbeatUnit{{UnitId: unitID, Epoch: epoch, Phase: "generate key pair"}}})
	return must[api.HeartbeatAnswer](s.t, a, http.StatusOK).Units[0]
}

func (s *station) release(unitID string, epoch int64, reason api.ReleaseRequestReason) answer {
	s.t.Helper()
	return s.send(http.MethodPost, "/units/"+unitID+"/release", api.ReleaseRequest{Epoch: epoch, Reason: reason})
}

// work is one unit on its way through a station.
type work struct {
	*station
	lease    api.Lease
	escrowID string
	escrow   api.EscrowRequest
	csr      api.CsrRequest
	result   api.ResultRequest
}

// begin prepares everything that a station sends for a leased unit.
func (s *station) begin(l api.Lease) *work {
	s.t.Helper()
	w := &work{station: s, lease: l, escrowID: uuid.NewString()}
	serial := "token-" + w.escrowID[:8]
	w.escrow = api.EscrowRequest{UnitId: l.UnitId, Epoch: l.Epoch, SealedSoPin: sealed(s.t, "so"+w.escrowID), Recipients: []string{fmt.Sprintf("%064d", 1)}}
	w.csr = api.CsrRequest{
		Epoch: l.Epoch, Csr: request(s.t, newKey(s.t)), TokenSerial: serial, TokenModel: "SoftHSM v2", KeyId: "0a0b", EscrowId: w.escrowID,
	}
	pin, label := sealed(s.t, "user"+w.escrowID), "CERT272353"
	seconds := 12.5
	w.result = api.ResultRequest{
		Epoch: l.Epoch, Outcome: api.Installed, TokenSerial: serial, TokenLabel: &label, KeyId: &w.csr.KeyId,
		EscrowId: &w.escrowID, SealedUserPin: &pin, Seconds: &seconds,
	}
	return w
}

func (w *work) putEscrow() answer {
	w.t.Helper()
	return w.send(http.MethodPut, "/escrows/"+w.escrowID, w.escrow)
}

func (w *work) putToken() answer {
	w.t.Helper()
	return w.send(http.MethodPut, "/escrows/"+w.escrowID+"/token", api.EscrowTokenRequest{TokenSerial: w.csr.TokenSerial})
}

func (w *work) path(tail string) string {
	return fmt.Sprintf("/units/%s/generations/%d/%s", w.lease.UnitId, w.lease.Generation, tail)
}

func (w *work) putCSR() answer {
	w.t.Helper()
	return w.send(http.MethodPut, w.path("csr"), w.csr)
}

func (w *work) getCertificate(wait int) answer {
	w.t.Helper()
	return w.send(http.MethodGet, w.path(fmt.Sprintf("certificate?wait=%d", wait)), nil)
}

func (w *work) putResult() answer {
	w.t.Helper()
	return w.send(http.MethodPut, w.path("result"), w.result)
}

// escrowed puts the SO PIN into escrow and names the token.
func (w *work) escrowed() *work {
	w.t.Helper()
	must[api.Escrow](w.t, w.putEscrow(), http.StatusOK)
	must[api.Escrow](w.t, w.putToken(), http.StatusOK)
	return w
}

// issued goes on to the certificate.
func (w *work) issued() *work {
	w.t.Helper()
	w.escrowed()
	w.take(must[api.IssuedCertificate](w.t, w.putCSR(), http.StatusOK))
	return w
}

// take fills the certificate into the result.
func (w *work) take(c api.IssuedCertificate) {
	w.result.CertificateSerial, w.result.CertificateSha256 = &c.CertificateSerial, &c.CertificateSha256
}

// one submits an order of one unit and leases it.
func (s *station) one(orderID string) *work {
	s.t.Helper()
	s.submit(order(orderID, 1))
	leases := s.claim(1)
	if len(leases) != 1 {
		s.t.Fatalf("got %d leases, want 1", len(leases))
	}
	return s.begin(leases[0])
}
