package central_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// A CA that cannot be asked loses its answer. Two persons find out what it did: it had
// issued, or it had not, and then the same request goes to it once more.
func TestTwoPersonsResolve(t *testing.T) { onBothEngines(t, testTwoPersonsResolve) }

func testTwoPersonsResolve(t *testing.T, e engine) {
	t.Parallel()
	for _, had := range []bool{true, false} {
		t.Run(map[bool]string{true: "it had issued", false: "it had not"}[had], func(t *testing.T) {
			r, authority, _ := faultyRig(t, e)
			authority.blind = true
			var made ca.Certificate
			authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
				if !had && authority.asked.Load() > 1 {
					return authority.Development.Issue(ctx, q)
				}
				var err error
				if had {
					if made, err = authority.Development.Issue(ctx, q); err != nil {
						t.Error(err)
					}
				}
				return ca.Certificate{}, errors.New("the answer was lost")
			}
			w := r.station("bay-1").one("ASK").escrowed()
			must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
			r.waitState("ASK-001", api.ISSUEUNKNOWN)
			found := api.ResolveRequest{Generation: 1, Finding: api.FindingAbsent, Operator: "p1", Reason: "asked on the telephone"}
			if had {
				found.Finding, found.Pkcs7 = api.FindingCertificate, &made.PKCS7
			}
			asked, err := r.admin.Resolve(t.Context(), "ASK-001", found)
			if err != nil || asked.Decision.Status != api.DecisionWaiting {
				t.Fatalf("ask: %+v %v", asked, err)
			}
			r.wantState("ASK-001", api.ISSUEUNKNOWN)
			var refused *api.Problem
			if _, err := r.admin.Approve(t.Context(), asked.Decision.DecisionId, "p1"); !errors.As(err, &refused) || refused.Type != api.ProblemSamePerson {
				t.Errorf("the same person approves: %v", err)
			}
			done, err := r.admin.Approve(t.Context(), asked.Decision.DecisionId, "p2")
			if err != nil || done.Decision.Status != api.DecisionDone {
				t.Fatalf("approve: %+v %v", done, err)
			}
			c := must[api.IssuedCertificate](t, w.getCertificate(10), http.StatusOK)
			w.take(c)
			must[api.UnitState](t, w.putResult(), http.StatusOK)
			wantCertificates(t, authority, 1)
			want := int32(1)
			if !had {
				want = 2
			}
			if got := authority.asked.Load(); got != want {
				t.Errorf("the CA was told %d times, want %d", got, want)
			}
		})
	}
}

// A unit is cancelled while the CA works. What it issued afterwards is revoked, nothing
// more is issued, and the unit ends only when the station has wiped the token.
func TestCancelWhileTheCAWorks(t *testing.T) { onBothEngines(t, testCancelWhileTheCAWorks) }

func testCancelWhileTheCAWorks(t *testing.T, e engine) {
	t.Parallel()
	r, authority, _ := faultyRig(t, e)
	goOn := make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release) // before the server is closed, which waits for the CA
	authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
		<-goOn
		return authority.Development.Issue(ctx, q)
	}
	w := r.station("bay-1").one("STOP").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	answer, err := r.admin.Cancel(t.Context(), "STOP", api.CancelRequest{Operator: "p1", Reason: "test"})
	if err != nil || len(answer.Units) != 1 || answer.Units[0].State != api.CANCELLING || *answer.Units[0].WaitsFor != "the CA must say what it issued" {
		t.Fatalf("cancel: %+v %v", answer, err)
	}
	if got := w.beat("STOP-001", 1); got.Status != api.Cancel {
		t.Errorf("the heartbeat says %s", got.Status)
	}
	wantProblem(t, w.getCertificate(0), http.StatusGone, api.ProblemCancelled)
	w.result.Outcome, w.result.SealedUserPin = api.Destroyed, nil
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	r.wantState("STOP-001", api.CANCELLING)
	release()
	u := r.waitState("STOP-001", api.CANCELLED)
	if u.RevokedAt == nil {
		t.Errorf("its certificate is not revoked: %+v", u)
	}
	wantCertificates(t, authority, 1)
}
