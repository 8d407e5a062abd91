package central_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

func TestWholeLifeOfAUnit(t *testing.T) { onBothEngines(t, testWholeLifeOfAUnit) }

func testWholeLifeOfAUnit(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	r.submit(order("LIFE", 2))

	leases := s.claim(8)
	if len(leases) != 2 {
		t.Fatalf("got %d leases, want 2", len(leases))
	}
	l := leases[0]
	if l.UnitId != "LIFE-001" || l.Sequence != 1 || l.Of != 2 || l.Epoch != 1 || l.Generation != 1 || l.LeaseSeconds != 120 || l.Kind != api.Initial || l.Company.Name != testCompany {
		t.Errorf("unexpected lease: %+v", l)
	}
	w := s.begin(l)
	r.wantState("LIFE-001", api.LEASED)

	if got := s.beat("LIFE-001", 1); got.Status != api.Ok || got.LeaseSeconds != 120 {
		t.Errorf("heartbeat: %+v", got)
	}
	w.escrowed()
	c := must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK)
	w.take(c)
	r.wantState("LIFE-001", api.ISSUED)
	if diff := cmp.Diff(c, must[api.IssuedCertificate](t, w.getCertificate(0), http.StatusOK)); diff != "" {
		t.Errorf("collected another certificate (-put +get):\n%s", diff)
	}
	if got := s.beat("LIFE-001", 1); got.Status != api.Ok || got.LeaseSeconds != int((72*time.Hour).Seconds()) {
		t.Errorf("heartbeat in custody: %+v", got)
	}
	state := must[api.UnitState](t, w.putResult(), http.StatusOK)
	if state.State != api.INSTALLED {
		t.Errorf("after the result the unit is %s", state.State)
	}

	u := r.wantState("LIFE-001", api.INSTALLED)
	if *u.TokenSerial != w.csr.TokenSerial || *u.CertificateSerial != c.CertificateSerial || *u.CertificateSha256 != c.CertificateSha256 ||
		*u.EscrowId != w.escrowID || *u.TokenLabel != "CERT272353" || *u.Seconds != 12.5 || u.CertificateNotAfter == nil || *u.Station != "bay-1" {
		t.Errorf("the unit's record: %+v", u)
	}
	if want := "CN=经办人甲,organizationIdentifier=NTRCN-91000000MA0000001R,O=" + testCompany + ",C=CN"; *u.Subject != want {
		t.Errorf("subject %s, want %s", *u.Subject, want)
	}
	pin, err := r.admin.SealedPIN(t.Context(), "LIFE-001")
	if err != nil || string(pin) != string(*w.result.SealedUserPin) {
		t.Errorf("sealed PIN differs from what was reported: %v", err)
	}
	certificates, err := r.admin.Certificates(t.Context())
	if err != nil || len(certificates) != 1 {
		t.Fatalf("the CA's record has %d certificates, want one: %v", len(certificates), err)
	}
	if got := certificates[0]; got.UnitId != "LIFE-001" || got.Generation != 1 || got.RequestId != "LIFE-001-g1" || got.CertificateSerial != c.CertificateSerial {
		t.Errorf("the CA's record: %+v", got)
	}
	if got := s.beat("LIFE-001", 1); got.Status != api.Lost {
		t.Errorf("heartbeat of a finished unit: %+v", got)
	}
}

// Every PUT again gives the same answer and changes nothing.
func TestRepeats(t *testing.T) { onBothEngines(t, testRepeats) }

func testRepeats(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	w := r.station("bay-1").one("AGAIN").issued()
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	before := r.unit("AGAIN-001")

	repeats := []struct {
		name string
		send func() answer
	}{
		{"escrow", w.putEscrow},
		{"escrow token", w.putToken},
		{"csr", w.putCSR},
		{"certificate", func() answer { return w.getCertificate(0) }},
		{"result", w.putResult},
	}
	for _, repeat := range repeats {
		t.Run(repeat.name, func(t *testing.T) {
			first, second := repeat.send(), repeat.send()
			if first.status != http.StatusOK || string(first.body) != string(second.body) {
				t.Errorf("answers differ or fail:\n%v\n%v", first, second)
			}
		})
	}
	if diff := cmp.Diff(before, r.unit("AGAIN-001")); diff != "" {
		t.Errorf("repeats changed the unit (-before +after):\n%s", diff)
	}
	certificates, err := r.admin.Certificates(t.Context())
	if err != nil || len(certificates) != 1 {
		t.Errorf("%d certificates, want one: %v", len(certificates), err)
	}
}

// What is said differently the second time is refused.
func TestContradictions(t *testing.T) { onBothEngines(t, testContradictions) }

func testContradictions(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	w := s.one("CONTRA").issued()
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	other := "other"
	rows := []struct {
		name   string
		mutate func(*work)
		send   func(*work) answer
		want   api.ProblemType
	}{
		{"escrow with another PIN", func(w *work) { w.escrow.SealedSoPin = sealed(t, other) }, (*work).putEscrow, api.ProblemEscrowConflict},
		{"escrow for other recipients", func(w *work) { w.escrow.Recipients = append(w.escrow.Recipients, w.escrow.Recipients[0]) }, (*work).putEscrow, api.ProblemEscrowConflict},
		{"another token in escrow", func(w *work) { w.csr.TokenSerial = other }, (*work).putToken, api.ProblemEscrowConflict},
		{"another request", func(w *work) { w.csr.Csr = request(t, newKey(t)) }, (*work).putCSR, api.ProblemCsrConflict},
		{"the request from another token", func(w *work) { w.csr.TokenSerial = other }, (*work).putCSR, api.ProblemCsrConflict},
		{"the request with another key id", func(w *work) { w.csr.KeyId = "ff" }, (*work).putCSR, api.ProblemCsrConflict},
		{"another result", func(w *work) { w.result.TokenLabel = &other }, (*work).putResult, api.ProblemResultConflict},
		{"the opposite result", func(w *work) { w.result.Outcome = api.Destroyed }, (*work).putResult, api.ProblemResultConflict},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			changed := *w
			row.mutate(&changed)
			wantProblem(t, row.send(&changed), http.StatusConflict, row.want)
		})
	}
}

// A failed unit is held for a person, and its result is as final as a good one.
func TestFailedOutcomesHold(t *testing.T) { onBothEngines(t, testFailedOutcomesHold) }

func testFailedOutcomesHold(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	reason := "the hub lost power"
	for _, outcome := range []api.ResultRequestOutcome{api.Faulty, api.Destroyed, api.RefusedCertificate} {
		t.Run(string(outcome), func(t *testing.T) {
			w := s.one("HELD-" + strings.ToUpper(string(outcome))).issued()
			w.result = api.ResultRequest{Epoch: w.lease.Epoch, Outcome: outcome, TokenSerial: w.csr.TokenSerial, Reason: &reason}
			state := must[api.UnitState](t, w.putResult(), http.StatusOK)
			if want := string(outcome) + ": " + reason; state.State != api.HELD || *state.HeldReason != want {
				t.Errorf("got %s %v, want HELD %q", state.State, state.HeldReason, want)
			}
			must[api.UnitState](t, w.putResult(), http.StatusOK)
			wantProblem(t, w.getCertificate(0), http.StatusConflict, api.ProblemUnitState)
			w.result.Outcome = api.Installed
			wantProblem(t, w.putResult(), http.StatusConflict, api.ProblemResultConflict)
		})
	}
}

// An installed unit must say all of what was bound and issued, rightly.
func TestInstalledMustMatch(t *testing.T) { onBothEngines(t, testInstalledMustMatch) }

func testInstalledMustMatch(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	w := r.station("bay-1").one("MATCH").issued()
	text := func(s string) *string { return &s }
	rows := []struct {
		name   string
		mutate func(*api.ResultRequest)
		want   []string
	}{
		{"another token", func(q *api.ResultRequest) { q.TokenSerial = "other" }, []string{"/tokenSerial"}},
		{"another key", func(q *api.ResultRequest) { q.KeyId = text("ff") }, []string{"/keyId"}},
		{"another escrow", func(q *api.ResultRequest) { q.EscrowId = text(uuid.NewString()) }, []string{"/escrowId"}},
		{"another certificate", func(q *api.ResultRequest) { q.CertificateSha256 = text(hexZeros) }, []string{"/certificateSha256"}},
		{"another serial", func(q *api.ResultRequest) { q.CertificateSerial = text("aabb") }, []string{"/certificateSerial"}},
		{"no user PIN", func(q *api.ResultRequest) { q.SealedUserPin = nil }, []string{"/sealedUserPin"}},
		{"a user PIN in clear", func(q *api.ResultRequest) { b := []byte("12345678"); q.SealedUserPin = &b }, []string{"/sealedUserPin"}},
		{"a user PIN of a mailer", func(q *api.ResultRequest) { d := api.PinMailer; q.PinDelivery = &d }, []string{"/sealedUserPin"}},
		{"nothing", func(q *api.ResultRequest) {
			*q = api.ResultRequest{Epoch: q.Epoch, Outcome: q.Outcome, TokenSerial: q.TokenSerial}
		}, []string{"/keyId", "/escrowId", "/certificateSerial", "/certificateSha256", "/sealedUserPin"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			changed := *w
			row.mutate(&changed.result)
			a := changed.putResult()
			wantProblem(t, a, http.StatusUnprocessableEntity, api.ProblemInvalidContent)
			if diff := cmp.Diff(row.want, a.pointers()); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
	r.wantState("MATCH-001", api.ISSUED)
	must[api.UnitState](t, w.putResult(), http.StatusOK)
}

const hexZeros = "0000000000000000000000000000000000000000000000000000000000000000"
