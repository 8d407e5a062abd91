package conformance

import (
	"fmt"
	"slices"

	"github.com/usbkeyd/usbkeyd/api"
)

func (t *token) ship(waybill string, scans ...string) (answer, error) {
	return t.by.send(t.ctx, "PUT", "/units/"+t.lease.UnitId+"/shipment", api.ShipmentRequest{
		Generation: t.generation, Waybill: waybill, Scans: scans, PackedBy: operator,
	})
}

// eventsAtOnce is how many events one request asks for.
const eventsAtOnce = 1000

// events are those after a number.
func (s *scene) events(after int64) (list api.EventList, err error) {
	path := fmt.Sprintf("/events?after=%d&limit=%d", after, eventsAtOnce)
	return list, answered(&list, 200)(s.admin.send(s.ctx, "GET", path, nil))
}

func shipmentChecks() []check {
	return []check{
		{"shipment", "An installed unit is SHIPPED when its own token was scanned and its end is on record, once; before, and with another token, it is refused.", at((*token).issued, func(t *token) error {
			if err := refused(api.ProblemUnitState)(t.ship("SF0000000001", t.serial)); err != nil {
				return fmt.Errorf("before it is installed: %w", err)
			}
			if err := ok(t.putResult(t.resultRequest(api.Installed))); err != nil {
				return before(err)
			}
			a, err := t.ship("SF0000000001", t.serial)
			if err == nil {
				err = a.refused(api.ProblemNotAnchored)
			}
			if err == nil && !a.problem.Retryable {
				err = fmt.Errorf("%v; want it retryable", a)
			}
			if err != nil {
				return fmt.Errorf("before it is on record: %w", err)
			}
			if err := t.anchored(); err != nil {
				return err
			}
			if err := refused(api.ProblemInvalidContent, api.ProblemShipmentConflict)(t.ship("SF0000000001", "ANOTHER-TOKEN")); err != nil {
				return fmt.Errorf("another token: %w", err)
			}
			for range 2 {
				if err := ok(t.ship("SF0000000001", t.serial)); err != nil {
					return err
				}
			}
			if err := refused(api.ProblemShipmentConflict)(t.ship("SF0000000002", t.serial)); err != nil {
				return fmt.Errorf("another waybill: %w", err)
			}
			return t.stays(t.lease.UnitId, api.SHIPPED)
		})},
		{"mailer-and-parcel", "A PIN that comes by a mailer is sealed to nobody, and whoever confirmed the sheet does not pack the token, nor the other way round.", at((*token).issued, func(t *token) error {
			r, by := t.resultRequest(api.Installed), api.PinMailer
			r.PinDelivery, r.SealedUserPin, r.UserPinRecipients = &by, nil, nil
			confirm := func(person string) (answer, error) {
				return t.by.send(t.ctx, "PUT", t.path("mailer"), api.MailerRequest{ConfirmedBy: person})
			}
			if err := refused(api.ProblemUnitState)(confirm(operator)); err != nil {
				return fmt.Errorf("before it is installed: %w", err)
			}
			if err := ok(t.putResult(r)); err != nil {
				return err
			}
			for range 2 {
				if err := ok(confirm(operator)); err != nil {
					return err
				}
			}
			if err := t.anchored(); err != nil {
				return err
			}
			if err := refused(api.ProblemSamePerson)(t.ship("SF0000000001", t.serial)); err != nil {
				return fmt.Errorf("packed by who confirmed: %w", err)
			}
			return t.stays(t.lease.UnitId, api.INSTALLED)
		})},
		{"events", "The order system hears issued, installed, shipped and cancelled, in this order, each with a number that grows; asked for again, they are the same.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			past, err := s.events(0)
			if err != nil {
				return err
			}
			after := past.Last
			for len(past.Events) == eventsAtOnce {
				if past, err = s.events(after); err != nil {
					return err
				}
				after = past.Last
			}
			if err := t.installed(); err != nil {
				return err
			}
			if err := t.anchored(); err != nil {
				return err
			}
			if err := ok(t.ship("SF0000000003", t.serial)); err != nil {
				return before(err)
			}
			other, err := s.order(1)
			if err != nil {
				return err
			}
			if err := ok(s.cancel(other)); err != nil {
				return before(err)
			}
			var twice [2][]api.EventKind
			for i := range twice {
				list, err := s.events(after)
				if err != nil {
					return err
				}
				last := after
				for _, e := range list.Events {
					if e.Sequence <= last {
						return fmt.Errorf("event %d comes after event %d", e.Sequence, last)
					}
					last = e.Sequence
					if e.OrderId == t.lease.OrderId || e.OrderId == other {
						twice[i] = append(twice[i], e.Kind)
					}
				}
			}
			want := []api.EventKind{api.EventIssued, api.EventInstalled, api.EventShipped, api.EventCancelled}
			if !slices.Equal(twice[0], want) || !slices.Equal(twice[1], want) {
				return fmt.Errorf("the events are %v, and asked for again %v; want %v", twice[0], twice[1], want)
			}
			return nil
		}},
	}
}
