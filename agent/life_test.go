package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// at does something once, as a step begins.
func (r *rig) at(step provision.StepName, do func()) {
	done := false
	r.config.Observe = func(p provision.Progress) {
		if p.Step == step && !done {
			done = true
			do()
		}
	}
}

// cancel withdraws the sample order.
func (r *rig) cancel() {
	if _, err := r.central.Admin.Cancel(context.WithoutCancel(r.t.Context()), "SAMPLE-2026-0001", api.CancelRequest{Operator: "operator-1", Reason: "sample"}); err != nil {
		r.t.Error(err)
	}
}

// TestCancelledOrder: whenever the order is withdrawn, its unit ends as CANCELLED, what
// the CA issued is revoked, and nothing is left on the token.
func TestCancelledOrder(t *testing.T) {
	for _, step := range []provision.StepName{provision.StepCheckKey, provision.StepBindCSR, provision.StepCollect, provision.StepInstall} {
		t.Run(string(step), func(t *testing.T) {
			r := newRig(t, 1, 4*time.Second)
			r.order(1)
			r.at(step, func() {
				r.cancel()
				if step != provision.StepCheckKey && step != provision.StepBindCSR {
					time.Sleep(1500 * time.Millisecond) // until a heartbeat has told
				}
			})
			r.config.Drain = false
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			done := make(chan error, 1)
			go func() { _, err := r.run(ctx); done <- err }()
			r.waitFor("the unit to be cancelled", func() bool { return r.units()[0].State == api.CANCELLED })
			r.waitFor("the job to end", func() bool {
				all, err := r.journal.All()
				return err == nil && len(all) == 1 && all[0].State == provision.StateQuarantined
			})
			stop()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if n := r.certificatesOn(0); n != 0 {
				t.Errorf("%d certificates are left on the token", n)
			}
			all, err := r.journal.All()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(all[0].Reason, provision.ErrCancelled.Error()) || !all[0].Facts.Withdrawn {
				t.Errorf("the job ended because: %s", all[0].Reason)
			}
		})
	}
}

// TestStrandedUnitIsTakenBack: the station was away for longer than its unit is kept for
// it. It has the key, proves that, and finishes the unit under a new epoch, whether a
// heartbeat tells it that the unit is lost or it asks for the certificate before.
func TestStrandedUnitIsTakenBack(t *testing.T) {
	for name, pause := range map[string]time.Duration{"told by a heartbeat": 1500 * time.Millisecond, "asking at once": 0} {
		t.Run(name, func(t *testing.T) { strandedUnitIsTakenBack(t, pause) })
	}
}

func strandedUnitIsTakenBack(t *testing.T, pause time.Duration) {
	r := newRigWith(t, 1, func(c *central.Config) {
		c.LeaseBase, c.Rules.Custody, c.IssueWait = 2*time.Second, time.Second, 50*time.Millisecond
	})
	r.order(1)
	ctx, stop := context.WithCancel(t.Context())
	r.at(provision.StepCollect, stop)
	r.ca.mu.Lock() // so slow a CA that the station has to ask for its certificate
	if _, err := r.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.at(provision.StepCollect, func() { time.Sleep(pause) })
	r.waitFor("the unit to be stranded", func() bool { return r.units()[0].State == api.STRANDED })
	r.ca.mu.Unlock()
	r.config.Drain = false
	again, end := context.WithCancel(t.Context())
	defer end()
	done := make(chan error, 1)
	go func() { _, err := r.run(again); done <- err }()
	r.waitFor("the unit to be installed", func() bool { return r.units()[0].State == api.INSTALLED })
	end()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if u := r.units()[0]; u.Epoch < 2 {
		t.Errorf("epoch %d: the unit was not taken back", u.Epoch)
	}
	r.installed(1)
}

// TestCancelledTooLate: the order is withdrawn when its token is finished. The unit ends
// as CANCELLED all the same, and a person is told to put the token aside.
func TestCancelledTooLate(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	r.order(1)
	r.at(provision.StepFinish, r.cancel)
	summary, err := r.run(t.Context())
	if err != nil || summary.Finished != 1 || summary.Refused != 1 {
		t.Errorf("%+v (%v), wanted a report that came too late", summary, err)
	}
	r.waitFor("the unit to be cancelled", func() bool { return r.units()[0].State == api.CANCELLED })
}

// forbids answers as a central server does that will not let a station do something.
func forbids(w http.ResponseWriter) {
	w.Header().Set("Content-Type", api.ProblemMediaType)
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte(`{"type":"urn:usbkeyd:problem:forbidden","title":"Not this station's","status":403,"retryable":false}`))
}

// TestForbiddenReport: a report about a unit that is another station's holds up no other
// report. One that is forbidden because the station is waits until it is accepted again.
func TestForbiddenReport(t *testing.T) {
	t.Run("the unit is another's", func(t *testing.T) {
		r := newRig(t, 2, time.Minute)
		r.order(2)
		r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
			another := strings.HasSuffix(req.URL.Path, "-001/generations/1/result")
			if another {
				forbids(w)
			}
			return another
		})
		summary, err := r.run(t.Context())
		if err != nil || summary.Finished != 2 || summary.Refused != 1 {
			t.Errorf("%+v (%v)", summary, err)
		}
		if n, err := r.journal.CountPendingReports(); err != nil || n != 0 {
			t.Errorf("%d reports wait (%v)", n, err)
		}
	})
	t.Run("the station is not accepted", func(t *testing.T) {
		r := newRig(t, 1, time.Minute)
		r.order(1)
		var revoked atomic.Bool
		r.throughProxy(func(w http.ResponseWriter, _ *http.Request) bool {
			if revoked.Load() {
				forbids(w)
			}
			return revoked.Load()
		})
		r.at(provision.StepReadBack, func() { revoked.Store(true) })
		r.config.Patience = time.Second
		if _, err := r.run(t.Context()); err == nil {
			t.Error("a drain ended well with a report that was not taken")
		}
		if n, err := r.journal.CountPendingReports(); err != nil || n != 1 {
			t.Errorf("%d reports wait (%v)", n, err)
		}
	})
}

// A job whose order is cancelled while it is parked is taken up at once; when it fails again, it
// waits as any other.
func TestCancelledJobWaitsBetweenTries(t *testing.T) {
	r := newRig(t, 1, time.Minute)
	job := provision.Job{Kind: provision.KindInitial, Subject: csr.SubjectData{UnitID: "SAMPLE-A"}, Generation: 1, CreatedAt: time.Now()}
	rec, err := r.journal.Create(job, 1, provision.TokenRef{Module: "gone", Identity: pkcs11.Identity{Serial: "0001"}})
	if err != nil {
		t.Fatal(err)
	}
	var tries atomic.Int64
	config := r.config
	config.Log, config.Instances = slog.New(counting{"job parked", &tries}), nil
	a := New(config)
	if err := a.takeUp(); err != nil {
		t.Fatal(err)
	}
	a.jobs[rec.Job.ID].lease.end(1, provision.ErrCancelled) // as the heartbeat does
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var loops sync.WaitGroup
	_ = a.schedule(ctx, ctx, &loops)
	loops.Wait()
	if n := tries.Load(); n < 1 || n > 10 {
		t.Errorf("it was tried %d times in a second", n)
	}
}

// counting counts the lines with a text.
type counting struct {
	text string
	n    *atomic.Int64
}

func (counting) Enabled(context.Context, slog.Level) bool { return true }

func (c counting) Handle(_ context.Context, r slog.Record) error {
	if r.Message == c.text {
		c.n.Add(1)
	}
	return nil
}

func (c counting) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c counting) WithGroup(string) slog.Handler      { return c }
