package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/provision"
)

// connect opens the first session, fetches the recipients of PINs and checks the record.
// It goes on trying for ever, except that draining gives up after ConnectWithin or when
// the server does not accept this station, and that a broken record ends it at once.
func (a *Agent) connect(ctx context.Context) error {
	begun := time.Now()
	for n := 0; ; n++ {
		a.turn()
		err := a.openSession(ctx)
		if err == nil {
			a.turn()
			err = a.fetchRecipients(ctx)
		}
		if isProblem(err, api.ProblemUnauthenticated) && a.Renewal != nil && n == 0 {
			// The certificate may have expired while the station was off.
			if failed := a.renew(ctx); failed == nil {
				continue
			} else {
				err = errors.Join(err, failed)
			}
		}
		a.turn()
		if err == nil {
			err = a.checkRecord(ctx)
		}
		a.turn()
		if errors.Is(err, audit.ErrBroken) {
			a.recordBroken(err)
		}
		if err == nil || errors.Is(err, audit.ErrBroken) {
			return err
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
		Identity: a.tier(), InstanceId: a.InstanceID, BootId: a.BootID, ProtocolVersion: api.ProtocolVersion, Version: a.Version,
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
	a.witness(audit.Entry{Kind: audit.KindSession, IDs: map[string]string{"session": s.SessionId, "instance": a.InstanceID}})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session = s
	a.hold(s.Held, asked)
	known := "not told"
	if s.Identity != nil {
		known = string(*s.Identity)
	}
	a.log.Info("session opened", "session", s.SessionId, "identity", known, "leases", len(s.Held), "leaseSeconds", s.LeaseSeconds)
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

// errRecipients says that too few of the server's recipients are ours.
var errRecipients = errors.New("too few recipients of PINs that this station's configuration lists")

// leastOfficers is how many may open an SO PIN at least: with one, a lost key would be a
// lost token.
const leastOfficers = 2

// fetchRecipients takes from the server's recipients those whose SHA-256 the
// configuration lists, checked; none for either PIN is an error.
func (a *Agent) fetchRecipients(ctx context.Context) error {
	t, err := a.Central.trust(ctx)
	if err != nil {
		return err
	}
	var user []envelope.Recipient
	if len(a.UserPINRecipients) > 0 { // a station whose PINs all go by mailer seals none
		if user, err = chooseRecipients("user PIN", t.UserPinRecipients, a.UserPINRecipients, 1); err != nil {
			return err
		}
	}
	so, err := chooseRecipients("SO PIN", t.SoPinRecipients, a.SOPINRecipients, leastOfficers)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recipients = provision.Recipients{UserPIN: user, SOPIN: so}
	return nil
}

func chooseRecipients(what string, offered [][]byte, allowed []string, least int) ([]envelope.Recipient, error) {
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
	if len(out) < least {
		return nil, errors.Join(fmt.Errorf("%w: %s, %d of the %d certificates that the central server offers; %d are needed", errRecipients, what, len(out), len(offered), least), errors.Join(errs...))
	}
	return out, envelope.Distinct(out, least)
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

// hurries notes whether a unit's order is urgent now; nil says nothing of it.
func (a *Agent) hurries(unitID string, urgent *bool) {
	if j := a.jobOfUnit(unitID); j != nil && urgent != nil {
		a.mu.Lock()
		j.urgent = *urgent
		a.mu.Unlock()
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
			a.hurries(u.UnitId, u.Urgent)
		case api.Cancel:
			if !l.Cancelled() {
				a.witness(audit.Entry{Kind: audit.KindCancelled, Unit: u.UnitId, Epoch: u.Epoch})
			}
			l.end(u.Epoch, provision.ErrCancelled)
		case api.Lost:
			a.witness(audit.Entry{Kind: audit.KindLeaseLost, Unit: u.UnitId, Epoch: u.Epoch})
			l.end(u.Epoch, provision.ErrLeaseLost)
		}
	}
	a.mu.Lock()
	was := a.session.Drain
	a.session.Drain = answer.Drain
	a.mu.Unlock()
	if was != answer.Drain {
		code := "off"
		if answer.Drain {
			code = "on"
		}
		a.witness(audit.Entry{Kind: audit.KindDrain, Code: code})
	}
	return nil
}
