package provision

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// withdrawable is a lease on a unit that is cancelled at some moment.
type withdrawable struct{ cancelled atomic.Bool }

func (l *withdrawable) Epoch() int64    { return 1 }
func (l *withdrawable) Cancelled() bool { return l.cancelled.Load() }
func (l *withdrawable) Check(time.Duration, bool) error {
	if l.Cancelled() {
		return ErrCancelled
	}
	return nil
}

// cancelAt runs a job whose order is cancelled as a step begins.
func (s *station) cancelAt(t *testing.T, step StepName) (*Record, error) {
	t.Helper()
	lease := &withdrawable{}
	s.runner.Observe = func(p Progress) {
		if p.Step == step {
			lease.cancelled.Store(true)
		}
	}
	m := s.module()
	rec := s.create(m, 1)
	return rec, s.runner.Run(t.Context(), rec, m, lease)
}

// objectsOn has pkcs11-tool, which shares no code with us, list what a token holds.
func (s *station) objectsOn(t *testing.T, rec *Record) string {
	t.Helper()
	out := s.bay.Tool(t, "pkcs11-tool", "--module", s.bay.Path, "--token-label", string(rec.Job.TokenLabel),
		"--login", "--pin", s.openPIN(rec.Facts.UserPINEnvelope), "--list-objects")
	if !strings.Contains(out, " Object") {
		return ""
	}
	return out
}

// TestCancelAtEveryStep: whenever an order is cancelled, a token with a key is wiped, one
// without is left alone, and the central server hears which.
func TestCancelAtEveryStep(t *testing.T) {
	plan := Plan(sampleJob(1))
	at := func(name StepName) int { return slices.IndexFunc(plan, func(s Step) bool { return s.Name == name }) }
	for i, step := range plan {
		if step.Name == StepSetSOPIN || step.Name == StepSetFirstPIN {
			continue // not a step of this model
		}
		t.Run(string(step.Name), func(t *testing.T) {
			t.Parallel()
			s := newStation(t)
			rec, err := s.cancelAt(t, step.Name)
			if !errors.Is(err, ErrCancelled) {
				t.Fatalf("error is %v", err)
			}
			state := StateQuarantined
			if i <= at(StepInitialise) {
				state = StateFailed
			}
			if rec.State != state || rec.Hint == "" {
				t.Errorf("state %s (hint %q), want %s", rec.State, rec.Hint, state)
			}
			reports, err := s.runner.Journal.PendingReports(10)
			if err != nil || len(reports) != 1 {
				t.Fatalf("outbox %+v (%v)", reports, err)
			}
			kind, outcome := ReportRelease, Outcome("")
			if i > at(StepBindCSR) {
				kind, outcome = ReportResult, OutcomeDestroyed
			}
			if r := reports[0]; r.Kind != kind || r.Outcome != outcome {
				t.Errorf("report %s %s, want %s %s", r.Kind, r.Outcome, kind, outcome)
			}
			if i > at(StepGenerateKey) != rec.Facts.Withdrawn {
				t.Errorf("withdrawn is %v", rec.Facts.Withdrawn)
			}
			if i > at(StepSetUserPIN) {
				if left := s.objectsOn(t, rec); left != "" {
					t.Errorf("on the token are\n%s", left)
				}
			}
		})
	}
}

// dying is a token whose module crashes once, at the first object that is destroyed.
type dying struct {
	pkcs11.Module
	died *atomic.Bool
}

func (m dying) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := m.Module.Open(ctx, id)
	return dyingToken{t, m.died}, err
}

type dyingToken struct {
	pkcs11.Token
	died *atomic.Bool
}

func (t dyingToken) Destroy(ctx context.Context, q pkcs11.Query) (int, error) {
	n, err := t.Token.Destroy(ctx, q)
	if !t.died.Swap(true) {
		return 0, &pkcs11.Error{Op: "C_DestroyObject", Kind: pkcs11.ErrModuleCrashed}
	}
	return n, err
}

// TestWipeGoesOn: what is withdrawn stays so, whatever happens to the module, the
// program or the lease.
func TestWipeGoesOn(t *testing.T) {
	s := newStation(t)
	lease := &withdrawable{}
	s.runner.Observe = func(p Progress) {
		if p.Step == StepFinish {
			lease.cancelled.Store(true)
		}
	}
	m := s.module()
	rec := s.create(m, 1)
	err := s.runner.Run(t.Context(), rec, dying{m, &atomic.Bool{}}, lease)
	if !errors.Is(err, pkcs11.ErrModuleCrashed) || rec.State != StateParked || rec.Step != StepWipe {
		t.Fatalf("error is %v, state %s at %s", err, rec.State, rec.Step)
	}
	if s.objectsOn(t, rec) == "" {
		t.Fatal("the wipe was not cut off: nothing is on the token any more")
	}
	s.reopen()
	jobs, err := s.runner.Journal.Unfinished()
	if err != nil || len(jobs) != 1 {
		t.Fatalf("unfinished: %v (%v)", jobs, err)
	}
	if err := s.runner.Run(t.Context(), jobs[0], s.module(), &endingLease{verdict: ErrLeaseLost}); !errors.Is(err, ErrCancelled) {
		t.Fatalf("error is %v", err)
	}
	if left := s.objectsOn(t, jobs[0]); left != "" || jobs[0].State != StateQuarantined {
		t.Errorf("state %s; on the token are\n%s", jobs[0].State, left)
	}
}

// stubborn is a token that says that it has destroyed an object and has not.
type stubborn struct{ pkcs11.Module }

func (m stubborn) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := m.Module.Open(ctx, id)
	return stubbornToken{t}, err
}

type stubbornToken struct{ pkcs11.Token }

func (t stubbornToken) Destroy(context.Context, pkcs11.Query) (int, error) { return 1, nil }

// TestWipeIsProved: a token that keeps its key is reported faulty, not destroyed.
func TestWipeIsProved(t *testing.T) {
	s := newStation(t)
	lease := &withdrawable{}
	s.runner.Observe = func(p Progress) {
		if p.Step == StepFinish {
			lease.cancelled.Store(true)
		}
	}
	m := s.module()
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, stubborn{m}, lease); !errors.Is(err, ErrNotWiped) || rec.State != StateQuarantined {
		t.Fatalf("error is %v, state %s", err, rec.State)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 || reports[0].Outcome != OutcomeFaulty {
		t.Errorf("outbox %+v (%v)", reports, err)
	}
}
