package agent

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/provision"
)

// outboxBatch is how many reports are held in memory at a time.
const outboxBatch = 16

// outbox delivers the reports in their order until ctx ends. A report leaves the
// outbox only when the server has answered it; what cannot be delivered is tried
// again without end.
func (a *Agent) outbox(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		sent, err := a.deliver(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			a.log.Warn("a report waits in the outbox", "error", err)
			a.sleep(ctx, a.backoff(failures), nil)
			failures++
		case sent == 0:
			failures = 0
			a.poke()
			a.sleep(ctx, 5*time.Second, a.flush)
		default:
			failures = 0
		}
	}
}

// lastReports gives the outbox one more chance when the daemon stops; what is left waits on disk.
func (a *Agent) lastReports() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for {
		if sent, err := a.deliver(ctx); sent == 0 || err != nil {
			return
		}
	}
}

// deliver sends one batch and returns how many reports were answered.
func (a *Agent) deliver(ctx context.Context) (int, error) {
	reports, err := a.Runner.Journal.PendingReports(outboxBatch)
	if err != nil {
		a.fail(err) // a person must look at it; a drain ends, a daemon works on
		return 0, err
	}
	for i, r := range reports {
		answer, err := a.Central.Report(ctx, r)
		var acts []audit.Entry
		switch {
		case err == nil && r.Outcome == provision.OutcomeInstalled && (answer == string(api.CANCELLING) || answer == string(api.CANCELLED)):
			a.log.Error("an order was cancelled before the report of its token arrived: put the token aside, its certificate is revoked", "job", r.JobID, "unit", r.UnitID, "token", string(r.TokenSerial))
			a.mu.Lock()
			a.summary.Refused++
			a.mu.Unlock()
		case err == nil:
		case errors.Is(err, provision.ErrLeaseLost) && r.Kind == provision.ReportRelease:
			answer = "not ours any more" // somebody else has the unit: there is nothing to give back
		case errors.Is(err, provision.ErrCancelled) && r.Outcome != provision.OutcomeInstalled:
			answer = "cancelled" // and nothing of it is left here
		case errors.Is(err, provision.ErrRefused), errors.Is(err, provision.ErrCancelled), errors.Is(err, provision.ErrLeaseLost),
			errors.Is(err, ErrForbidden) && a.accepted(ctx):
			answer = "refused: " + err.Error()
			acts = append(acts, audit.Entry{
				Kind: audit.KindRefusal, Unit: r.UnitID, Generation: r.Generation, Epoch: r.Epoch, Job: r.JobID, Code: problemCode(err),
			})
			a.log.Error("the central server refuses a report for good", "job", r.JobID, "unit", r.UnitID, "error", err)
			a.mu.Lock()
			a.summary.Refused++
			a.mu.Unlock()
		default:
			return i, err
		}
		if err := a.Runner.Journal.ReportSent(r.ID, answer, acts...); err != nil {
			return i, err
		}
		a.mu.Lock()
		a.asked = false // a unit given back may be claimed again
		a.mu.Unlock()
	}
	return len(reports), nil
}

// problemCode is the last part of a problem's type, "" when there was none.
func problemCode(err error) string {
	var p *api.Problem
	if !errors.As(err, &p) {
		return ""
	}
	code, _ := strings.CutPrefix(string(p.Type), "urn:usbkeyd:problem:")
	if !audit.IsWord(code) {
		return "" // a type of somebody else's, which no entry has room for
	}
	return code
}

// accepted reports whether the central server accepts this station, so that what it
// forbids is about a unit: one that another station has, of which the server never took
// this station's request. Such a report must not hold up all that come after it.
func (a *Agent) accepted(ctx context.Context) bool {
	a.mu.Lock()
	session := a.session.SessionId
	a.mu.Unlock()
	_, err := a.Central.heartbeat(ctx, api.HeartbeatRequest{SessionId: session, Units: []api.HeartbeatUnit{}})
	return err == nil || isProblem(err, api.ProblemSessionUnknown)
}
