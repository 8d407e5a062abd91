package agent

import (
	"cmp"
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/provision"
)

// outboxBatch is how many reports are held in memory at a time.
const outboxBatch = 16

// outbox delivers the reports, those of a unit in their order, until ctx ends. A report leaves the
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

// deliver sends what is in the outbox, and what comes meanwhile, and returns how many
// reports were answered. Those of different units are under way at the same time, for the
// server then makes them durable together; after an error none is begun any more. The next
// round then begins behind those that this one began, so that what the server cannot answer
// for some units, however many, does not hold up the others.
func (a *Agent) deliver(ctx context.Context) (sent int, err error) {
	type end struct {
		unit string
		err  error
	}
	ended := make(chan end)
	begin := func(r provision.Report) {
		go func() { ended <- end{r.UnitID, a.deliverOne(ctx, r)} }()
	}
	after, last, held, inHand := a.heldBack, int64(math.MaxInt64), a.heldBack, 0
	units := map[string][]provision.Report{} // those with one under way, and what waits for that
	for {
		if err == nil && inHand < outboxBatch {
			reports, failed := a.Runner.Journal.PendingReportsBetween(after, last, held, outboxBatch-inHand)
			if failed == nil && len(reports) == 0 && held > 0 {
				after, last, held = 0, held, 0 // and now those that were begun before
				continue
			}
			if failed != nil {
				a.fail(failed) // a person must look at it; a drain ends, a daemon works on
				err = failed
			}
			for _, r := range reports {
				after = r.ID
				inHand++
				if waiting, busy := units[r.UnitID]; busy {
					units[r.UnitID] = append(waiting, r)
					continue
				}
				units[r.UnitID] = nil
				begin(r)
			}
		}
		if inHand == 0 {
			a.heldBack = 0
			if err != nil {
				a.heldBack = after
			} else if last < math.MaxInt64 {
				signal(a.flush) // more may have come meanwhile
			}
			return sent, err
		}
		select {
		case e := <-ended:
			inHand--
			if e.err == nil {
				sent++
			}
			err = cmp.Or(err, e.err)
			switch waiting := units[e.unit]; {
			case err == nil && len(waiting) > 0:
				units[e.unit] = waiting[1:]
				begin(waiting[0])
			default:
				inHand -= len(waiting)
				delete(units, e.unit)
			}
		case <-a.flush:
		}
	}
}

// deliverOne sends a report and takes it out of the outbox.
func (a *Agent) deliverOne(ctx context.Context, r provision.Report) error {
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
	case errors.Is(err, provision.ErrCancelled) && r.Outcome != provision.OutcomeInstalled && r.Kind != provision.ReportShipment:
		answer = "cancelled" // and nothing of it is left here
	case errors.Is(err, provision.ErrRefused), errors.Is(err, provision.ErrCancelled), errors.Is(err, provision.ErrLeaseLost),
		isProblem(err, api.ProblemForbidden) && a.accepted(ctx):
		answer = "refused: " + err.Error()
		acts = append(acts, audit.Entry{
			Kind: audit.KindRefusal, Unit: r.UnitID, Generation: r.Generation, Epoch: r.Epoch, Job: r.JobID, Code: problemCode(err),
		})
		a.log.Error("the central server refuses a report for good", "job", r.JobID, "unit", r.UnitID, "error", err)
		a.mu.Lock()
		a.summary.Refused++
		a.mu.Unlock()
	default:
		return err
	}
	if err := a.Runner.Journal.ReportSent(r.ID, answer, acts...); err != nil {
		return err
	}
	if r.Kind == provision.ReportShipment || r.Kind == provision.ReportMailer {
		signal(a.left)
	}
	a.log.Info("report answered", "job", r.JobID, "unit", r.UnitID, "generation", r.Generation, "kind", r.Kind, "outcome", r.Outcome, "answer", answer)
	a.mu.Lock()
	a.asked = false // a unit given back may be claimed again
	a.mu.Unlock()
	return nil
}

// problemCode is the last part of a problem's type, "" when there was none.
func problemCode(err error) string {
	var p *api.Problem
	if !errors.As(err, &p) {
		return ""
	}
	code, _ := strings.CutPrefix(string(p.Type), api.ProblemNamespace)
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
