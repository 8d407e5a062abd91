package central_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

// adoption signs for a unit that w bound with key.
func (w *work) adoption(by *station, key crypto.Signer, epoch int64) api.AdoptRequest {
	w.t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	digest := sha256.Sum256(api.Adoption{
		Station: by.name, SessionID: by.session, UnitID: w.lease.UnitId, Generation: w.lease.Generation, Epoch: epoch,
		TokenSerial: w.csr.TokenSerial, PublicKey: spki,
	}.Statement())
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		w.t.Fatal(err)
	}
	return api.AdoptRequest{
		SessionId: by.session, Generation: w.lease.Generation, Epoch: epoch, TokenSerial: w.csr.TokenSerial,
		PublicKey: spki, Hash: api.AdoptSHA256, Signature: signature,
	}
}

// What is wrong about the later operations of a unit's life is refused with the right
// problem, and the unit is as it was.
func TestBadLifeRequests(t *testing.T) { onBothEngines(t, testBadLifeRequests) }

func testBadLifeRequests(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s, thief := r.station("bay-1"), r.station("bay-2")
	w := s.one("WRONG").escrowed()
	key := newKey(t)
	w.csr.Csr = request(t, key)
	w.take(must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK))
	done := s.one("DONE").issued()
	must[api.UnitState](t, done.putResult(), http.StatusOK)
	done.anchor()
	parcel := api.ShipmentRequest{Generation: 1, Waybill: "SF0000000001", Scans: []api.TokenSerial{done.csr.TokenSerial}, PackedBy: "packer-1"}
	ship := func(by *station, change func(*api.ShipmentRequest)) func() answer {
		return func() answer {
			changed := parcel
			if change != nil {
				change(&changed)
			}
			return by.send("PUT", "/units/DONE-001/shipment", changed)
		}
	}
	adopt := func(by *station, q api.AdoptRequest, change func(*api.AdoptRequest)) func() answer {
		return func() answer {
			if change != nil {
				change(&q)
			}
			return by.send("POST", "/units/WRONG-001/adopt", q)
		}
	}
	admin := func(method, path string, body any) func() answer {
		return func() answer {
			return send(t, r.spec, &http.Client{}, r.srv.AdminURL(), method, path, body, "Authorization", "Bearer "+r.srv.AdminToken())
		}
	}
	good := w.adoption(thief, key, 1)
	moved := *w
	moved.csr.TokenSerial = "elsewhere"
	person := api.ReissueRequest{Generation: 1, Operator: "p1", Reason: "test"}
	rows := []struct {
		name   string
		send   func() answer
		status int
		want   api.ProblemType
	}{
		{"adopt: a statement for another station", adopt(s, good, nil), 422, api.ProblemProofInvalid},
		{"adopt: another key", adopt(thief, w.adoption(thief, newKey(t), 1), nil), 422, api.ProblemProofInvalid},
		{"adopt: another token", adopt(thief, good, func(q *api.AdoptRequest) { q.TokenSerial = "elsewhere" }), 422, api.ProblemProofInvalid},
		{"adopt: another token, well signed", adopt(thief, moved.adoption(thief, key, 1), nil), 422, api.ProblemProofInvalid},
		{"adopt: no key", adopt(thief, good, func(q *api.AdoptRequest) { q.PublicKey = []byte("key") }), 422, api.ProblemProofInvalid},
		{"adopt: another hash", adopt(thief, good, func(q *api.AdoptRequest) { q.Hash = api.AdoptSHA384 }), 422, api.ProblemProofInvalid},
		{"adopt: an epoch not reached", adopt(thief, w.adoption(thief, key, 2), nil), 409, api.ProblemStaleEpoch},
		{"adopt: a generation not reached", adopt(thief, good, func(q *api.AdoptRequest) { q.Generation = 2 }), 422, api.ProblemProofInvalid},
		{"adopt: no session", func() answer {
			other := *thief
			other.session = uuid.NewString()
			return other.send("POST", "/units/WRONG-001/adopt", w.adoption(&other, key, 1))
		}, 409, api.ProblemSessionUnknown},
		{"adopt: an unknown unit", func() answer { return thief.send("POST", "/units/NOWHERE-001/adopt", good) }, 422, api.ProblemProofInvalid},
		{"ship: another station", ship(thief, nil), 403, api.ProblemForbidden},
		{"ship: another generation", ship(s, func(q *api.ShipmentRequest) { q.Generation = 2 }), 409, api.ProblemUnitState},
		{"ship: another order's token", ship(s, func(q *api.ShipmentRequest) { q.Scans = append(q.Scans, w.csr.TokenSerial) }), 422, api.ProblemInvalidContent},
		{"ship: without its own token", ship(s, func(q *api.ShipmentRequest) { q.Scans = []api.TokenSerial{"x"} }), 422, api.ProblemInvalidContent},
		{"ship: no scans", ship(s, func(q *api.ShipmentRequest) { q.Scans = []api.TokenSerial{} }), 422, api.ProblemInvalidContent},
		{"ship: a unit that is not installed", func() answer { return s.send("PUT", "/units/WRONG-001/shipment", parcel) }, 409, api.ProblemUnitState},
		{"ship: an unknown unit", func() answer { return s.send("PUT", "/units/NOWHERE-001/shipment", parcel) }, 404, api.ProblemNotFound},
		{"cancel: an unknown order", admin("POST", "/orders/NOWHERE/cancel", api.CancelRequest{Operator: "p1", Reason: "x"}), 404, api.ProblemNotFound},
		{"cancel: another order's unit", admin("POST", "/orders/WRONG/cancel", api.CancelRequest{Operator: "p1", Reason: "x", Units: &[]string{"DONE-001"}}), 404, api.ProblemNotFound},
		{"cancel: nobody", admin("POST", "/orders/WRONG/cancel", api.CancelRequest{Reason: "x"}), 422, api.ProblemInvalidContent},
		{"flags: an unknown order", admin("PUT", "/orders/NOWHERE/flags", api.OrderFlags{}), 404, api.ProblemNotFound},
		{"reissue: a unit in good health", admin("POST", "/units/WRONG-001/reissue", person), 409, api.ProblemUnitState},
		{"reissue: an unknown unit", admin("POST", "/units/NOWHERE-001/reissue", person), 404, api.ProblemNotFound},
		{"return: a unit that is here", admin("POST", "/units/DONE-001/return", api.ReturnRequest{Operator: "p1", Reason: "x"}), 409, api.ProblemUnitState},
		{"resolve: nothing to resolve", admin("POST", "/units/WRONG-001/resolve", api.ResolveRequest{Generation: 1, Finding: api.FindingAbsent, Operator: "p1", Reason: "x"}), 409, api.ProblemUnitState},
		{"resolve: a certificate without one", admin("POST", "/units/WRONG-001/resolve", api.ResolveRequest{Generation: 1, Finding: api.FindingCertificate, Operator: "p1", Reason: "x"}), 422, api.ProblemInvalidContent},
		{"resolve: a certificate that is none", admin("POST", "/units/WRONG-001/resolve", api.ResolveRequest{Generation: 1, Finding: api.FindingCertificate, Pkcs7: &[]byte{1}, Operator: "p1", Reason: "x"}), 422, api.ProblemInvalidContent},
		{"resolve: revoked, of no certificate", admin("POST", "/units/WRONG-001/resolve", api.ResolveRequest{Generation: 1, Finding: api.FindingRevoked, Operator: "p1", Reason: "x"}), 422, api.ProblemInvalidContent},
		{"approve: an unknown decision", admin("POST", "/decisions/"+uuid.NewString(), api.ApproveRequest{Operator: "p2"}), 404, api.ProblemNotFound},
		{"drain: an unknown station", admin("PUT", "/stations/nowhere/drain", api.DrainRequest{Drain: true}), 404, api.ProblemNotFound},
		{"reset: an unknown station", admin("POST", "/stations/nowhere/reset", nil), 404, api.ProblemNotFound},
		{"revoke: an unknown station", admin("POST", "/stations/nowhere/revoke", nil), 404, api.ProblemNotFound},
		{"history: an unknown unit", admin("GET", "/units/NOWHERE-001/history", nil), 404, api.ProblemNotFound},
		{"events: after less than nothing", admin("GET", "/events?after=-1", nil), 400, api.ProblemBadRequest},
	}
	before := [2]api.Unit{r.unit("WRONG-001"), r.unit("DONE-001")}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { wantProblem(t, row.send(), row.status, row.want) })
	}
	if diff := cmp.Diff(before, [2]api.Unit{r.unit("WRONG-001"), r.unit("DONE-001")}); diff != "" {
		t.Errorf("what was refused has changed a unit:\n%s", diff)
	}
	// After all that they are still in order.
	lease := must[api.AdoptAnswer](t, adopt(thief, good, nil)(), http.StatusOK).Lease
	if lease.Epoch != 2 {
		t.Errorf("adopted under epoch %d", lease.Epoch)
	}
	wantProblem(t, adopt(thief, w.adoption(thief, key, 1), func(q *api.AdoptRequest) { q.Hash = api.AdoptSHA512 })(), 422, api.ProblemProofInvalid)
	must[api.UnitState](t, ship(s, nil)(), http.StatusOK)
	wantProblem(t, ship(s, func(q *api.ShipmentRequest) { q.Waybill = "SF0000000002" })(), 409, api.ProblemShipmentConflict)
}

// A drained station gets nothing and hears so; a revoked one is shut out, and what it
// had bound is STRANDED and taken back by who has the key.
func TestStationsAreDrainedAndRevoked(t *testing.T) {
	onBothEngines(t, testStationsAreDrainedAndRevoked)
}

func testStationsAreDrainedAndRevoked(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s, next := r.station("bay-1"), r.station("bay-2")
	w := s.one("GONE").escrowed()
	key := newKey(t)
	w.csr.Csr = request(t, key)
	w.take(must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK))
	decide := func(what func(*adminclient.Client) error) {
		t.Helper()
		if err := what(r.admin); err != nil {
			t.Fatal(err)
		}
	}
	decide(func(c *adminclient.Client) error { _, err := c.DrainStation(t.Context(), "bay-1", true); return err })
	r.submit(order("MORE", 1))
	if got := s.claim(1); len(got) != 0 {
		t.Errorf("a drained station got %s", got[0].UnitId)
	}
	if !s.open().Drain {
		t.Error("the session of a drained station does not say so")
	}
	if got := s.beat("GONE-001", 1); got.Status != api.Ok {
		t.Errorf("a drained station may not finish: %s", got.Status)
	}
	decide(func(c *adminclient.Client) error { _, err := c.RevokeStation(t.Context(), "bay-1"); return err })
	wantProblem(t, w.putResult(), http.StatusForbidden, api.ProblemForbidden)
	r.wantState("GONE-001", api.STRANDED)
	must[api.AdoptAnswer](t, next.send("POST", "/units/GONE-001/adopt", w.adoption(next, key, 1)), http.StatusOK)
	r.wantState("GONE-001", api.ISSUED)
}

// A claim that waits while its station is revoked gets nothing, not even what the
// revocation has just set free at home.
func TestAWaitingClaimIsRevoked(t *testing.T) { onBothEngines(t, testAWaitingClaimIsRevoked) }

func testAWaitingClaimIsRevoked(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	r.submit(order("HOME", 1))
	if got := unitIDs(s.claim(1)); len(got) != 1 {
		t.Fatalf("claimed %v", got)
	}
	waits := s.waits(uuid.NewString(), 1, 3)
	if _, err := r.admin.RevokeStation(t.Context(), "bay-1"); err != nil {
		t.Fatal(err)
	}
	if got := <-waits; got.status != http.StatusNoContent && got.status != http.StatusForbidden {
		t.Errorf("revoked, it got %v", got)
	}
	r.wantState("HOME-001", api.READY)
}
