package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

func sessionChecks() []check {
	return []check{
		{"meta", "GET /meta answers without a client certificate and names protocol version 1.", func(s *scene) error {
			a, err := s.nobody.send(s.ctx, "GET", "/meta", nil)
			if err != nil {
				return err
			}
			var meta api.Meta
			if err := a.is(&meta, 200); err != nil {
				return err
			}
			if !slices.Contains(meta.ProtocolVersions, api.ProtocolVersion) {
				return fmt.Errorf("%v; want protocol version %d", a, api.ProtocolVersion)
			}
			return nil
		}},
		{"session-without-certificate", "Without a client certificate nothing else is answered: unauthenticated.", func(s *scene) error {
			for _, path := range []string{"/trust", "/units/X-001/generations/1/certificate"} {
				if err := refused(api.ProblemUnauthenticated)(s.nobody.send(s.ctx, "GET", path, nil)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"session-replace", "The same instance replaces its session at once; the old one is session-unknown.", func(s *scene) error {
			old := *s.a()
			if err := s.a().open(s.ctx); err != nil {
				return err
			}
			if old.session.SessionId == s.a().session.SessionId {
				return fmt.Errorf("the session's id %s is the same as before", old.session.SessionId)
			}
			return refused(api.ProblemSessionUnknown)(old.send(s.ctx, "POST", "/heartbeat", api.HeartbeatRequest{SessionId: old.session.SessionId, Units: []api.HeartbeatUnit{}}))
		}},
		{"session-conflict", "Another instance with the same certificate, while the first is at work, is session-conflict.", func(s *scene) error {
			if err := refused(api.ProblemSessionConflict)(s.a().sessionAs(s.ctx, uuid.NewString(), api.ProtocolVersion)); err != nil {
				return err
			}
			if _, err := s.a().beat(s.ctx, "NO-SUCH-UNIT-001", 1); err != nil {
				return fmt.Errorf("the first instance's session afterwards: %w", err)
			}
			return nil
		}},
		{"session-version", "A protocol version that the server does not know is protocol-unsupported, at the session and not in the middle of a unit.", func(s *scene) error {
			return refused(api.ProblemProtocolUnsupported)(s.a().sessionAs(s.ctx, s.a().instance, 9999))
		}},
		{"session-held", "Opening the session lists the unbound leases that the station holds, and no bound ones.", func(s *scene) error {
			order, err := s.order(2)
			if err != nil {
				return err
			}
			leases, err := s.lease(s.a(), order, 2)
			if err != nil {
				return err
			}
			t, err := s.tokenOf(s.a(), leases[0])
			if err != nil {
				return err
			}
			if err := t.bound(); err != nil {
				return err
			}
			if err := s.a().open(s.ctx); err != nil {
				return err
			}
			var held []string
			for _, l := range s.a().session.Held {
				if l.OrderId == order {
					held = append(held, l.UnitId)
				}
			}
			if len(held) != 1 || held[0] != leases[1].UnitId {
				return fmt.Errorf("held are %v, want only %s", held, leases[1].UnitId)
			}
			return nil
		}},
		{"session-lease-length", "Leases last at least 120 s, and 60 s longer than the worst key generation that the station declares; heartbeats come several times as often.", func(s *scene) error {
			if n := s.a().session; n.LeaseSeconds < 120 || n.HeartbeatSeconds*2 > n.LeaseSeconds {
				return fmt.Errorf("leases of %d s with heartbeats every %d s", n.LeaseSeconds, n.HeartbeatSeconds)
			}
			l, err := s.one(s.a())
			if err != nil {
				return err
			}
			if l.LeaseSeconds < 100 {
				return fmt.Errorf("a fresh lease lasts %d s", l.LeaseSeconds)
			}
			return nil
		}},
	}
}

func claimChecks() []check {
	return []check{
		{"claim-key-missing", "A claim without Idempotency-Key is idempotency-key-missing.", func(s *scene) error {
			return refused(api.ProblemIdempotencyKeyMissing)(s.a().send(s.ctx, "POST", "/claims?wait=0", s.wants(1)))
		}},
		{"claim-empty", "A claim for which there is nothing is 204 with Retry-After.", func(s *scene) error {
			a, leases, err := s.b().claim(s.ctx, uuid.NewString(), 0, 1, "NO-SUCH-PRODUCT")
			if err != nil {
				return err
			}
			if a.status != 204 || len(leases) > 0 || a.header.Get("Retry-After") == "" {
				return fmt.Errorf("%v, Retry-After %q; want 204 with Retry-After", a, a.header.Get("Retry-After"))
			}
			return nil
		}},
		{"claim-long-poll", "A claim that waits is answered within two seconds of an order's arrival, and not before.", func(s *scene) error {
			type got struct {
				leases []api.Lease
				at     time.Time
				err    error
			}
			answered := make(chan got, 1)
			go func() {
				_, leases, err := s.a().claim(s.ctx, uuid.NewString(), 20, 1, s.Order.ProductCode)
				answered <- got{leases, time.Now(), err}
			}()
			time.Sleep(500 * time.Millisecond)
			placed := time.Now()
			order, err := s.order(1)
			if err != nil {
				return err
			}
			g := <-answered
			switch {
			case g.err != nil:
				return g.err
			case len(g.leases) != 1 || g.leases[0].OrderId != order:
				return before(fmt.Errorf("the claim gives %d leases, not the unit of order %s", len(g.leases), order))
			case g.at.Before(placed) || g.at.Sub(placed) > 2*time.Second:
				return fmt.Errorf("the claim is answered %s after the order's arrival", g.at.Sub(placed).Round(time.Millisecond))
			}
			return nil
		}},
		{"claim-replay", "The same claim under the same key gives the same leases; with another body it is idempotency-key-reused.", func(s *scene) error {
			if _, err := s.order(2); err != nil {
				return err
			}
			key := uuid.NewString()
			first, leases, err := s.a().claim(s.ctx, key, 5, 1, s.Order.ProductCode)
			if err != nil || len(leases) != 1 {
				return before(fmt.Errorf("%v: %w", first, err))
			}
			_, again, err := s.a().claim(s.ctx, key, 5, 1, s.Order.ProductCode)
			if err != nil {
				return err
			}
			if len(again) != 1 || again[0].UnitId != leases[0].UnitId || again[0].Epoch != leases[0].Epoch {
				return fmt.Errorf("the same claim again gives %v, first it gave %s under epoch %d", again, leases[0].UnitId, leases[0].Epoch)
			}
			return refused(api.ProblemIdempotencyKeyReused)(s.a().send(s.ctx, "POST", "/claims?wait=0", s.wants(2), "Idempotency-Key", key))
		}},
		{"claim-affinity", "The other units of an order go to the station that got its first one, and to no other.", func(s *scene) error {
			order, err := s.order(3)
			if err != nil {
				return err
			}
			if _, err := s.lease(s.a(), order, 1); err != nil {
				return err
			}
			_, leases, err := s.b().claim(s.ctx, uuid.NewString(), 1, 8, s.Order.ProductCode)
			if err != nil {
				return err
			}
			for _, l := range leases {
				if l.OrderId == order {
					return fmt.Errorf("the second station got %s, of an order that the first one began", l.UnitId)
				}
			}
			_, err = s.lease(s.a(), order, 2)
			return err
		}},
		{"claim-due", "What is due earlier is given out earlier.", func(s *scene) error {
			late, early := s.draft(1), due(s.draft(1), 24*time.Hour)
			for _, o := range []api.Order{late, early} {
				if err := s.submitted(o); err != nil {
					return err
				}
			}
			_, leases, err := s.a().claim(s.ctx, uuid.NewString(), 5, 1, s.Order.ProductCode)
			if err != nil || len(leases) != 1 {
				return before(fmt.Errorf("%d leases: %w", len(leases), err))
			}
			if leases[0].OrderId == late.OrderId {
				return fmt.Errorf("%s is given out before %s, which is due two days earlier", late.OrderId, early.OrderId)
			}
			return nil
		}},
		{"claim-urgent-and-hold", "An urgent order is given out first, a held one not at all.", func(s *scene) error {
			plain, urgent, held := s.draft(1), due(s.draft(1), 120*time.Hour), due(s.draft(1), 24*time.Hour)
			// Held before it can be claimed: with the other flag's order, in this order.
			for _, o := range []api.Order{held, plain, urgent} {
				if err := s.submitted(o); err != nil {
					return err
				}
				if o.OrderId == plain.OrderId {
					continue
				}
				flags := api.OrderFlags{Hold: o.OrderId == held.OrderId, Urgent: o.OrderId == urgent.OrderId}
				if err := ok(s.admin.send(s.ctx, "PUT", "/orders/"+o.OrderId+"/flags", flags)); err != nil {
					return before(err)
				}
			}
			_, leases, err := s.a().claim(s.ctx, uuid.NewString(), 5, 1, s.Order.ProductCode)
			if err != nil || len(leases) != 1 {
				return before(fmt.Errorf("%d leases: %w", len(leases), err))
			}
			if leases[0].OrderId != urgent.OrderId {
				return fmt.Errorf("%s is given out first, not the urgent %s", leases[0].OrderId, urgent.OrderId)
			}
			return s.stays(held.OrderId+"-001", api.READY)
		}},
	}
}

func (s *scene) wants(most int) api.ClaimRequest {
	return api.ClaimRequest{SessionId: s.a().session.SessionId, Max: most, Products: []string{s.Order.ProductCode}}
}

func leaseChecks() []check {
	return []check{
		{"lease-renewed", "A heartbeat renews a lease; of a unit that the station does not have it says lost, and of an old epoch too.", func(s *scene) error {
			l, err := s.one(s.a())
			if err != nil {
				return err
			}
			for _, row := range []struct {
				unit  string
				epoch int64
				want  api.HeartbeatStatusStatus
			}{{l.UnitId, l.Epoch, api.Ok}, {l.UnitId, l.Epoch + 1, api.Lost}, {"NO-SUCH-UNIT-001", 1, api.Lost}} {
				got, err := s.a().beat(s.ctx, row.unit, row.epoch)
				if err != nil {
					return err
				}
				if got.Status != row.want || row.want == api.Ok && got.LeaseSeconds < 1 {
					return fmt.Errorf("unit %s, epoch %d: %s for %d s, want %s", row.unit, row.epoch, got.Status, got.LeaseSeconds, row.want)
				}
			}
			return nil
		}},
		{"lease-released", "A released unit is READY, and comes back under a later epoch; the old one is stale-epoch from then on.", func(s *scene) error {
			l, err := s.one(s.a())
			if err != nil {
				return err
			}
			if err := ok(s.a().release(s.ctx, l.UnitId, l.Epoch)); err != nil {
				return err
			}
			if err := s.stays(l.UnitId, api.READY); err != nil {
				return err
			}
			again, err := s.lease(s.a(), l.OrderId, 1)
			if err != nil {
				return err
			}
			if again[0].UnitId != l.UnitId || again[0].Epoch <= l.Epoch {
				return fmt.Errorf("%s comes back under epoch %d, first it was %d", again[0].UnitId, again[0].Epoch, l.Epoch)
			}
			a, err := s.a().release(s.ctx, l.UnitId, l.Epoch)
			if err := refused(api.ProblemStaleEpoch)(a, err); err != nil {
				return err
			}
			if a.problem.CurrentEpoch == nil || *a.problem.CurrentEpoch != again[0].Epoch {
				return fmt.Errorf("%v; want currentEpoch %d with it", a, again[0].Epoch)
			}
			return s.stays(l.UnitId, api.LEASED)
		}},
		{"lease-of-another", "Nobody releases, escrows for or binds a unit that another station has.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			t.by = s.b()
			if err := refused(api.ProblemForbidden, api.ProblemStaleEpoch)(s.b().release(s.ctx, t.lease.UnitId, t.epoch)); err != nil {
				return err
			}
			if err := refused(api.ProblemForbidden, api.ProblemStaleEpoch)(t.putEscrow()); err != nil {
				return err
			}
			if err := refused(api.ProblemForbidden, api.ProblemStaleEpoch)(t.putCSR(t.csrRequest())); err != nil {
				return err
			}
			return s.stays(t.lease.UnitId, api.LEASED)
		}},
	}
}
