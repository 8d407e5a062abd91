package conformance

import (
	"fmt"

	"github.com/usbkeyd/usbkeyd/api"
)

// wiped reports that the token of a cancelled unit was wiped, and waits for the unit's end.
func (t *token) wiped() error {
	if err := ok(t.putResult(t.resultRequest(api.Destroyed))); err != nil {
		return err
	}
	return t.becomes(t.lease.UnitId, api.CANCELLED)
}

func cancelChecks() []check {
	return []check{
		{"cancel-ready", "A READY unit of a cancelled order is CANCELLED at once, and never given out.", func(s *scene) error {
			order, err := s.order(1)
			if err != nil {
				return err
			}
			if err := ok(s.cancel(order)); err != nil {
				return err
			}
			return s.stays(order+"-001", api.CANCELLED)
		}},
		{"cancel-leased", "The station of a LEASED unit hears cancel in its heartbeat, and cannot bind it any more.", at((*token).escrowed, func(t *token) error {
			if err := ok(t.cancel(t.lease.OrderId)); err != nil {
				return err
			}
			if err := t.a().hears(t.ctx, t.lease.UnitId, t.epoch, api.Cancel); err != nil {
				return err
			}
			if err := refused(api.ProblemCancelled)(t.putCSR(t.csrRequest())); err != nil {
				return err
			}
			return t.stays(t.lease.UnitId, api.CANCELLED)
		})},
		{"cancel-issued", "A cancelled unit with a certificate waits until the token is wiped and the certificate revoked, and gives the certificate to nobody.", at((*token).issued, func(t *token) error {
			if err := ok(t.cancel(t.lease.OrderId)); err != nil {
				return err
			}
			if err := t.stays(t.lease.UnitId, api.CANCELLING); err != nil {
				return err
			}
			if err := t.a().hears(t.ctx, t.lease.UnitId, t.epoch, api.Cancel); err != nil {
				return err
			}
			if err := refused(api.ProblemCancelled)(t.a().send(t.ctx, "GET", t.path("certificate?wait=0"), nil)); err != nil {
				return err
			}
			return t.wiped()
		})},
		{"cancel-again", "Cancelled again, nothing changes.", func(s *scene) error {
			order, err := s.order(2)
			if err != nil {
				return err
			}
			for range 2 {
				if err := ok(s.cancel(order)); err != nil {
					return err
				}
			}
			return s.stays(order+"-002", api.CANCELLED)
		}},
		{"order-fewer", "A revision with fewer units drops READY ones only; the same revision with other content, and a lower one, are order-conflict.", func(s *scene) error {
			o := s.draft(3)
			if err := s.submitted(o); err != nil {
				return err
			}
			leases, err := s.lease(s.a(), o.OrderId, 1)
			if err != nil {
				return err
			}
			first := o.Revision
			fewer, two := o, 2
			fewer.Quantity, fewer.Revision = 1, &two
			var status api.OrderStatus
			if err := answered(&status, 200)(s.put(fewer)); err != nil {
				return err
			}
			ready := 0
			for _, u := range status.Units {
				if u.State == api.READY {
					ready++
				}
			}
			if ready != 0 {
				return fmt.Errorf("%d units are still READY after the quantity fell to 1 of which one is leased", ready)
			}
			if err := s.stays(leases[0].UnitId, api.LEASED); err != nil {
				return err
			}
			changed := fewer
			changed.ValidityYears = fewer.ValidityYears%10 + 1
			lower := o
			lower.Revision = first
			for name, order := range map[string]api.Order{"other content": changed, "a lower revision": lower} {
				if err := refused(api.ProblemOrderConflict)(s.put(order)); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		}},
	}
}
