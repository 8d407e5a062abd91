package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/provision"
)

// assign gives every lease that came in to its job, or makes a job of it on a free token.
func (a *Agent) assign(ctx context.Context) {
	a.mu.Lock()
	pending := a.pending
	a.pending = nil
	a.mu.Unlock()
	a.start(ctx, a.jobsOf(ctx, pending, a.inventory.free))
}

// before compares: what has the advantage comes first.
func before(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return -1
	}
	return 1
}

// jobsOf returns the jobs that it has made of leases, one on each free token, to be started.
// free, which looks through all tokens, is asked again after a lease that went to a job: that
// may have set a token free. Urgent ones choose first.
func (a *Agent) jobsOf(ctx context.Context, leases []heldLease, free func() []provision.TokenRef) (wave []*job) {
	urgent := func(l heldLease) bool { return l.Urgent != nil && *l.Urgent }
	slices.SortStableFunc(leases, func(x, y heldLease) int { return before(urgent(x), urgent(y)) })
	var plans []plan
	var tokens []provision.TokenRef
	known := false
	for _, l := range leases {
		a.turn()
		// A later lease of a unit goes to the job that the earlier one has become.
		if slices.ContainsFunc(plans, func(p plan) bool { return p.lease.UnitId == l.UnitId }) {
			wave, plans, known = append(wave, a.makeAll(ctx, plans)...), nil, false
		}
		if a.jobOfUnit(l.UnitId) != nil {
			known = false
		}
		left := func() []provision.TokenRef {
			if !known {
				tokens, known = free(), true
			}
			tokens = slices.DeleteFunc(tokens, func(t provision.TokenRef) bool {
				return slices.ContainsFunc(plans, func(p plan) bool { return p.job.Token == t })
			})
			return tokens
		}
		p, err := a.planFor(ctx, l, left)
		if err != nil {
			a.log.Error("unit is given back", "unit", l.UnitId, "generation", l.Generation, "error", err)
		}
		if p != nil {
			plans = append(plans, *p)
		}
	}
	return append(wave, a.makeAll(ctx, plans)...)
}

// plan is a lease and the job that it is to become.
type plan struct {
	lease heldLease
	job   provision.NewJob
}

// planFor gives a lease the first of the free tokens, unless it belongs to a job that there is.
func (a *Agent) planFor(ctx context.Context, l heldLease, left func() []provision.TokenRef) (*plan, error) {
	if old := a.jobOfUnit(l.UnitId); old != nil {
		taken, err := a.takeLease(old, l)
		if taken || err != nil {
			return nil, err
		}
	}
	known, err := a.Runner.Journal.Knows(l.UnitId, int(l.Generation), l.Epoch)
	if err != nil {
		return nil, err
	}
	if known {
		// The server refuses this if it has the key that was made here, or the report that
		// is on the way. If it never heard of it the unit must not wait here for ever.
		return nil, a.giveBack(ctx, l, api.TokenFaulty, errors.New("a key was made for this generation here before"))
	}
	label, err := a.Label(l.ProductCode)
	if err != nil {
		return nil, a.giveBack(ctx, l, api.OrderUnusable, err)
	}
	j, err := jobOf(l.Lease, label, a.Runner.Now())
	if err != nil {
		return nil, a.giveBack(ctx, l, api.OrderUnusable, err)
	}
	j.OneAtATime = a.PrintLabel != nil
	free := left()
	if len(free) == 0 {
		if !a.inventory.settled() {
			// A token may be coming free; the lease lasts a while.
			a.mu.Lock()
			a.pending = append(a.pending, l)
			a.mu.Unlock()
			return nil, nil
		}
		return nil, a.giveBack(ctx, l, api.NoToken, errors.New("no free token"))
	}
	return &plan{l, provision.NewJob{Job: j, Epoch: l.Epoch, Token: free[0]}}, nil
}

// makeAll journals a wave in one transaction, and where that is refused each job alone. It
// returns those to be started.
func (a *Agent) makeAll(ctx context.Context, plans []plan) (wave []*job) {
	if len(plans) == 0 {
		return nil
	}
	var all []provision.NewJob
	for _, p := range plans {
		all = append(all, p.job)
	}
	records, err := a.Runner.Journal.CreateAll(all)
	if err != nil && len(plans) > 1 {
		for _, p := range plans {
			a.turn()
			wave = append(wave, a.makeAll(ctx, []plan{p})...)
		}
		return wave
	}
	if err != nil {
		l := plans[0].lease
		err = a.giveBack(ctx, l, api.NoToken, err)
		a.log.Error("unit is given back", "unit", l.UnitId, "generation", l.Generation, "error", err)
		return nil
	}
	for i, p := range plans {
		wave = append(wave, a.made(p.lease, records[i]))
	}
	return wave
}

// made is a job that was just journalled, with its token.
func (a *Agent) made(l heldLease, rec *provision.Record) *job {
	a.log.Info("job made", "job", rec.Job.ID, "unit", l.UnitId, "generation", l.Generation, "epoch", l.Epoch, "module", rec.Token.Module)
	a.inventory.occupy(rec.Token, rec.Job.ID, true)
	j := &job{rec: rec, lease: newLease(a.clock, l.Epoch, l.asked, l.LeaseSeconds), urgent: rec.Job.Urgent, at: a.inventory.place(rec.Token)}
	a.inventory.breaker.begins(j.at)
	a.begins(j)
	return j
}
