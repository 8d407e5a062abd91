package conformance

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/usbkeyd/usbkeyd/api"
)

// wiped reports that the token of a cancelled unit was wiped, and waits for the unit's end.
func (t *token) wiped() error {
	a, err := t.putResult(t.resultRequest(api.Destroyed))
	if err == nil {
		err = a.is(nil, 200)
	}
	if err != nil {
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
			a, err := s.cancel(order)
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return err
			}
			return s.stays(order+"-001", api.CANCELLED)
		}},
		{"cancel-leased", "The station of a LEASED unit hears cancel in its heartbeat, and cannot bind it any more.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.escrowed(); err != nil {
				return err
			}
			a, err := s.cancel(t.lease.OrderId)
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return err
			}
			got, err := s.a().beat(s.ctx, t.lease.UnitId, t.epoch)
			if err != nil {
				return err
			}
			if got.Status != api.Cancel {
				return fmt.Errorf("the heartbeat says %s, want cancel", got.Status)
			}
			if a, err = t.putCSR(t.csrRequest()); err != nil {
				return err
			}
			if err := a.refused(api.ProblemCancelled); err != nil {
				return err
			}
			return s.stays(t.lease.UnitId, api.CANCELLED)
		}},
		{"cancel-issued", "A cancelled unit with a certificate waits until the token is wiped and the certificate revoked, and gives the certificate to nobody.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
			a, err := s.cancel(t.lease.OrderId)
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return err
			}
			if err := s.stays(t.lease.UnitId, api.CANCELLING); err != nil {
				return err
			}
			got, err := s.a().beat(s.ctx, t.lease.UnitId, t.epoch)
			if err != nil {
				return err
			}
			if got.Status != api.Cancel {
				return fmt.Errorf("the heartbeat says %s, want cancel", got.Status)
			}
			if a, err = s.a().send(s.ctx, "GET", t.path("certificate?wait=0"), nil); err != nil {
				return err
			}
			if err := a.refused(api.ProblemCancelled); err != nil {
				return err
			}
			return t.wiped()
		}},
		{"cancel-again", "Cancelled again, nothing changes.", func(s *scene) error {
			order, err := s.order(2)
			if err != nil {
				return err
			}
			for range 2 {
				a, err := s.cancel(order)
				if err == nil {
					err = a.is(nil, 200)
				}
				if err != nil {
					return err
				}
			}
			return s.stays(order+"-002", api.CANCELLED)
		}},
		{"order-fewer", "A revision with fewer units drops READY ones only; the same revision with other content, and a lower one, are order-conflict.", func(s *scene) error {
			o := s.draft(3)
			a, err := s.put(o)
			if err == nil {
				err = a.is(nil, 200, 201)
			}
			if err != nil {
				return before(err)
			}
			leases, err := s.lease(s.a(), o.OrderId, 1)
			if err != nil {
				return err
			}
			first := o.Revision
			fewer, two := o, 2
			fewer.Quantity, fewer.Revision = 1, &two
			if a, err = s.put(fewer); err != nil {
				return err
			}
			var status api.OrderStatus
			if err := a.is(&status, 200); err != nil {
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
				if a, err = s.put(order); err != nil {
					return err
				}
				if err := a.refused(api.ProblemOrderConflict); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		}},
	}
}

// nameOf is a station's name, the Common Name in its certificate.
func nameOf(c tls.Certificate) (string, error) {
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return "", before(err)
	}
	return leaf.Subject.CommonName, nil
}

func adoptChecks() []check {
	return []check{
		{"adopt", "The station that proves to have a bound key gets the unit under a later epoch; the old epoch is lost, and the result comes under the new one.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
			name, err := nameOf(s.Stations[1])
			if err != nil {
				return err
			}
			a, err := t.adopts(s.b(), name, t.epoch, t.key)
			if err != nil {
				return err
			}
			var got api.AdoptAnswer
			if err := a.is(&got, 200); err != nil {
				return err
			}
			if got.Lease.Epoch <= t.epoch {
				return fmt.Errorf("the epoch is %d, before it was %d", got.Lease.Epoch, t.epoch)
			}
			again, err := t.adopts(s.b(), name, t.epoch, t.key)
			if err == nil {
				err = again.is(nil, 200)
			}
			if err != nil {
				return fmt.Errorf("the same again: %w", err)
			}
			beat, err := s.a().beat(s.ctx, t.lease.UnitId, t.epoch)
			if err != nil {
				return err
			}
			if beat.Status != api.Lost {
				return fmt.Errorf("the first station's heartbeat says %s, want lost", beat.Status)
			}
			t.by, t.epoch = s.b(), got.Lease.Epoch
			a, err = t.putResult(t.resultRequest(api.Installed))
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return err
			}
			return s.stays(t.lease.UnitId, api.INSTALLED)
		}},
		{"adopt-proof", "Without the bound key, for another station's name, or under another epoch, no unit is given out.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
			other, err := s.NewKey()
			if err != nil {
				return before(err)
			}
			mine, err := nameOf(s.Stations[1])
			if err != nil {
				return err
			}
			theirs, err := nameOf(s.Stations[0])
			if err != nil {
				return err
			}
			a, err := t.adopts(s.b(), mine, t.epoch, other)
			if err == nil {
				err = a.refused(api.ProblemProofInvalid)
			}
			if err != nil {
				return fmt.Errorf("another key: %w", err)
			}
			a, err = t.adopts(s.b(), theirs, t.epoch, t.key)
			if err == nil {
				err = a.refused(api.ProblemProofInvalid)
			}
			if err != nil {
				return fmt.Errorf("another station's name: %w", err)
			}
			a, err = t.adopts(s.b(), mine, t.epoch+1, t.key)
			if err == nil {
				err = a.refused(api.ProblemStaleEpoch)
			}
			if err != nil {
				return fmt.Errorf("another epoch: %w", err)
			}
			beat, err := s.a().beat(s.ctx, t.lease.UnitId, t.epoch)
			if err == nil && beat.Status != api.Ok {
				err = fmt.Errorf("the first station's heartbeat says %s, want ok", beat.Status)
			}
			return err
		}},
	}
}

func personChecks() []check {
	return []check{
		{"reissue", "A HELD unit gets a new generation by the decision of two different persons, once its certificate is revoked; the old key is never bound again.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
			a, err := t.putResult(t.resultRequest(api.Faulty))
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return before(err)
			}
			a, err = s.admin.send(s.ctx, "POST", "/units/"+t.lease.UnitId+"/reissue", api.ReissueRequest{Generation: t.generation, Operator: operator, Reason: "conformance"})
			if err != nil {
				return err
			}
			var asked api.DecisionAnswer
			if err := a.is(&asked, 202); err != nil {
				return err
			}
			if err := s.stays(t.lease.UnitId, api.HELD); err != nil {
				return err
			}
			path := "/decisions/" + asked.Decision.DecisionId
			if a, err = s.admin.send(s.ctx, "POST", path, api.ApproveRequest{Operator: operator}); err != nil {
				return err
			}
			if err := a.refused(api.ProblemSamePerson); err != nil {
				return err
			}
			a, err = s.admin.send(s.ctx, "POST", path, api.ApproveRequest{Operator: "conformance-2"})
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return err
			}
			if err := s.becomes(t.lease.UnitId, api.READY); err != nil {
				return err
			}
			leases, err := s.lease(s.a(), t.lease.OrderId, 1)
			if err != nil {
				return err
			}
			if leases[0].Generation != t.generation+1 {
				return fmt.Errorf("it is generation %d, want %d", leases[0].Generation, t.generation+1)
			}
			again, err := s.tokenOf(s.a(), leases[0])
			if err != nil {
				return err
			}
			if err := again.escrowed(); err != nil {
				return err
			}
			r := again.csrRequest()
			if r.Csr, err = s.request(t.key, again.lease); err != nil {
				return before(err)
			}
			if a, err = again.putCSR(r); err != nil {
				return err
			}
			if err := a.refused(api.ProblemKeyReused); err != nil {
				return err
			}
			return again.finishes()
		}},
	}
}

// finishes brings a unit whose SO PIN is in escrow to its end.
func (t *token) finishes() error {
	a, err := t.putCSR(t.csrRequest())
	if err == nil {
		err = a.is(nil, 200, 202)
	}
	if err == nil {
		err = t.collect(t.ctx)
	}
	if err == nil {
		a, err = t.putResult(t.resultRequest(api.Installed))
	}
	if err == nil {
		err = a.is(nil, 200)
	}
	if err != nil {
		return err
	}
	return t.stays(t.lease.UnitId, api.INSTALLED)
}

func (t *token) ship(waybill string, scans ...string) (answer, error) {
	return t.by.send(t.ctx, "PUT", "/units/"+t.lease.UnitId+"/shipment", api.ShipmentRequest{
		Generation: t.generation, Waybill: waybill, Scans: scans, PackedBy: operator,
	})
}

func shipmentChecks() []check {
	return []check{
		{"shipment", "An installed unit is SHIPPED when its own token was scanned and its end is on record, once; before, and with another token, it is refused.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
			a, err := t.ship("SF0000000001", t.serial)
			if err == nil {
				err = a.refused(api.ProblemUnitState)
			}
			if err != nil {
				return fmt.Errorf("before it is installed: %w", err)
			}
			a, err = t.putResult(t.resultRequest(api.Installed))
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return before(err)
			}
			a, err = t.ship("SF0000000001", t.serial)
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
			a, err = t.ship("SF0000000001", "ANOTHER-TOKEN")
			if err == nil {
				err = a.refused(api.ProblemInvalidContent, api.ProblemShipmentConflict)
			}
			if err != nil {
				return fmt.Errorf("another token: %w", err)
			}
			for range 2 {
				a, err = t.ship("SF0000000001", t.serial)
				if err == nil {
					err = a.is(nil, 200)
				}
				if err != nil {
					return err
				}
			}
			a, err = t.ship("SF0000000002", t.serial)
			if err == nil {
				err = a.refused(api.ProblemShipmentConflict)
			}
			if err != nil {
				return fmt.Errorf("another waybill: %w", err)
			}
			return s.stays(t.lease.UnitId, api.SHIPPED)
		}},
		{"mailer-and-parcel", "A PIN that comes by a mailer is sealed to nobody, and whoever confirmed the sheet does not pack the token, nor the other way round.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
			r, by := t.resultRequest(api.Installed), api.PinMailer
			r.PinDelivery, r.SealedUserPin, r.UserPinRecipients = &by, nil, nil
			confirm := func(person string) (answer, error) {
				return t.by.send(t.ctx, "PUT", t.path("mailer"), api.MailerRequest{ConfirmedBy: person})
			}
			a, err := confirm(operator)
			if err == nil {
				err = a.refused(api.ProblemUnitState)
			}
			if err != nil {
				return fmt.Errorf("before it is installed: %w", err)
			}
			if a, err = t.putResult(r); err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return err
			}
			for range 2 {
				if a, err = confirm(operator); err == nil {
					err = a.is(nil, 200)
				}
				if err != nil {
					return err
				}
			}
			if err := t.anchored(); err != nil {
				return err
			}
			if a, err = t.ship("SF0000000001", t.serial); err == nil {
				err = a.refused(api.ProblemSamePerson)
			}
			if err != nil {
				return fmt.Errorf("packed by who confirmed: %w", err)
			}
			return s.stays(t.lease.UnitId, api.INSTALLED)
		}},
		{"events", "The order system hears issued, installed, shipped and cancelled, in this order, each with a number that grows; asked for again, they are the same.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			var start api.EventList
			a, err := s.admin.send(s.ctx, "GET", "/events?after=0&limit=1000", nil)
			if err == nil {
				err = a.is(&start, 200)
			}
			if err != nil {
				return err
			}
			after := start.Last
			for len(start.Events) == 1000 {
				a, err = s.admin.send(s.ctx, "GET", fmt.Sprintf("/events?after=%d&limit=1000", after), nil)
				start = api.EventList{}
				if err == nil {
					err = a.is(&start, 200)
				}
				if err != nil {
					return err
				}
				after = start.Last
			}
			if err := t.installed(); err != nil {
				return err
			}
			if err := t.anchored(); err != nil {
				return err
			}
			a, err = t.ship("SF0000000003", t.serial)
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return before(err)
			}
			other, err := s.order(1)
			if err != nil {
				return err
			}
			if a, err = s.cancel(other); err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return before(err)
			}
			var twice [2][]api.EventKind
			for i := range twice {
				var list api.EventList
				a, err := s.admin.send(s.ctx, "GET", fmt.Sprintf("/events?after=%d&limit=1000", after), nil)
				if err == nil {
					err = a.is(&list, 200)
				}
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
