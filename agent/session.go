package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/provision"
)

// connect opens the first session and fetches the recipients of PINs. It goes on
// trying for ever, except that draining gives up after ConnectWithin or when the
// server does not accept this station.
func (a *Agent) connect(ctx context.Context) error {
	begun := time.Now()
	for n := 0; ; n++ {
		err := a.openSession(ctx)
		if err == nil {
			err = a.fetchRecipients(ctx)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if a.Drain && (errors.Is(err, ErrForbidden) || errors.Is(err, errRecipients) || time.Since(begun) > a.ConnectWithin) {
			return err
		}
		a.log.Warn("no session with the central server yet", "error", err)
		a.sleep(ctx, a.backoff(n), nil)
	}
}

// openSession opens or replaces the session. The leases that the server says we
// hold are renewed, or put up for assignment when the journal does not know them.
func (a *Agent) openSession(ctx context.Context) error {
	req := api.SessionRequest{
		InstanceId: a.InstanceID, BootId: a.BootID, ProtocolVersion: api.ProtocolVersion, Version: a.Version,
		Slots: []api.SlotCapability{},
	}
	for _, c := range a.Capabilities {
		req.Slots = append(req.Slots, api.SlotCapability{
			TokenModel: c.TokenModel, Algorithms: c.Algorithms,
			WorstKeyGenerationSeconds: int(c.WorstKeyGeneration.Round(time.Second).Seconds()),
		})
	}
	asked := a.clock()
	s, err := a.Central.session(ctx, req)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session = s
	a.hold(s.Held, asked)
	a.log.Info("session opened", "session", s.SessionId, "leases", len(s.Held), "leaseSeconds", s.LeaseSeconds)
	return nil
}

// hold puts leases up for assignment, once each. a.mu is held.
func (a *Agent) hold(leases []api.Lease, asked time.Duration) {
	for _, l := range leases {
		known := false
		for _, p := range a.pending {
			known = known || p.UnitId == l.UnitId && p.Epoch >= l.Epoch
		}
		if !known {
			a.pending = append(a.pending, heldLease{l, asked})
		}
	}
}

// errRecipients says that the server's recipients are none of ours.
var errRecipients = errors.New("no recipient of PINs that this station's configuration lists")

// fetchRecipients takes from the server's recipients those whose SHA-256 the
// configuration lists, checked; none for either PIN is an error.
func (a *Agent) fetchRecipients(ctx context.Context) error {
	t, err := a.Central.trust(ctx)
	if err != nil {
		return err
	}
	var user []envelope.Recipient
	if len(a.UserPINRecipients) > 0 { // a station whose PINs all go by mailer seals none
		if user, err = chooseRecipients("user PIN", t.UserPinRecipients, a.UserPINRecipients); err != nil {
			return err
		}
	}
	so, err := chooseRecipients("SO PIN", t.SoPinRecipients, a.SOPINRecipients)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recipients = provision.Recipients{UserPIN: user, SOPIN: so}
	return nil
}

func chooseRecipients(what string, offered [][]byte, allowed []string) ([]envelope.Recipient, error) {
	var out []envelope.Recipient
	var errs []error
	for _, der := range offered {
		r, err := envelope.ParseRecipient(der, time.Now())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, want := range allowed {
			if r.SHA256() == want {
				out = append(out, r)
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.Join(fmt.Errorf("%w: %s, the central server offers %d certificates", errRecipients, what, len(offered)), errors.Join(errs...))
	}
	return out, envelope.Distinct(out, 1)
}

// heartbeats renews the leases until ctx ends, at the server's rhythm and when asked.
func (a *Agent) heartbeats(ctx context.Context) {
	failures := 0
	for {
		a.mu.Lock()
		wait := time.Duration(a.session.HeartbeatSeconds) * time.Second
		a.mu.Unlock()
		if failures > 0 {
			wait = min(wait, a.backoff(failures-1))
		}
		a.sleep(ctx, wait, a.beat)
		if ctx.Err() != nil {
			return
		}
		if err := a.heartbeat(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			failures++
			a.log.Warn("heartbeat failed", "error", err)
			continue
		}
		failures = 0
		a.poke()
	}
}

func (a *Agent) heartbeat(ctx context.Context) error {
	a.mu.Lock()
	req := api.HeartbeatRequest{SessionId: a.session.SessionId, Units: []api.HeartbeatUnit{}}
	leases := map[string]*lease{}
	for _, j := range a.jobs {
		if j.lease.lost() {
			continue
		}
		req.Units = append(req.Units, api.HeartbeatUnit{UnitId: j.rec.Job.UnitID(), Epoch: j.lease.Epoch(), Phase: string(j.phase)})
		leases[j.rec.Job.UnitID()] = j.lease
	}
	a.mu.Unlock()
	asked := a.clock()
	answer, err := a.Central.heartbeat(ctx, req)
	if isProblem(err, api.ProblemSessionUnknown) {
		return a.openSession(ctx)
	}
	if err != nil {
		return err
	}
	for _, u := range answer.Units {
		l := leases[u.UnitId]
		if l == nil {
			continue
		}
		switch u.Status {
		case api.Ok:
			l.renew(u.Epoch, asked, u.LeaseSeconds)
		case api.Cancel:
			l.end(u.Epoch, provision.ErrCancelled)
		case api.Lost:
			l.end(u.Epoch, provision.ErrLeaseLost)
		}
	}
	a.mu.Lock()
	a.session.Drain = answer.Drain
	a.mu.Unlock()
	return nil
}
