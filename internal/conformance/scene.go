package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

// scene is one check at work, with orders of its own.
type scene struct {
	*driver
	ctx    context.Context
	placed []string
}

func (s *scene) a() *station { return s.stations[0] }
func (s *scene) b() *station { return s.stations[1] }

// draft is an order of this check that is not submitted yet.
func (s *scene) draft(quantity int) api.Order {
	s.orders++
	o := s.Order
	o.OrderId = fmt.Sprintf("CONF-%s-%04d", strings.ToUpper(s.run), s.orders)
	o.Quantity = quantity
	return due(o, 72*time.Hour)
}

// due is an order that is due some time from now.
func due(o api.Order, in time.Duration) api.Order {
	at := time.Now().Add(in).UTC().Truncate(time.Second)
	o.DueAt = &at
	return o
}

func (s *scene) put(o api.Order) (answer, error) {
	a, err := s.admin.send(s.ctx, "PUT", "/orders/"+o.OrderId, o)
	if err == nil && a.status < 300 {
		s.placed = append(s.placed, o.OrderId)
	}
	return a, err
}

// order submits an order and gives its id.
func (s *scene) order(quantity int) (string, error) {
	o := s.draft(quantity)
	return o.OrderId, s.submitted(o)
}

// submitted puts an order that a check needs.
func (s *scene) submitted(o api.Order) error { return before(answered(nil, 200, 201)(s.put(o))) }

// lease has a station claim units of an order of this check. What it gets beside them
// it gives back.
func (s *scene) lease(by *station, order string, want int) (out []api.Lease, err error) {
	var others []api.Lease
	for range 5 {
		_, leases, err := by.claim(s.ctx, uuid.NewString(), 2, max(want, 64), s.Order.ProductCode)
		if err != nil {
			return nil, before(err)
		}
		for _, l := range leases {
			if l.OrderId == order && len(out) < want {
				out = append(out, l)
			} else {
				others = append(others, l)
			}
		}
		if len(out) == want {
			break
		}
	}
	for _, l := range others {
		if _, err := by.release(s.ctx, l.UnitId, l.Epoch); err != nil {
			return nil, before(err)
		}
	}
	if len(out) < want {
		return nil, before(fmt.Errorf("claims give %d of the %d units of order %s; are there many other orders for product %s?", len(out), want, order, s.Order.ProductCode))
	}
	return out, nil
}

// one is a leased unit of a new order of one.
func (s *scene) one(by *station) (api.Lease, error) {
	order, err := s.order(1)
	if err != nil {
		return api.Lease{}, err
	}
	leases, err := s.lease(by, order, 1)
	if err != nil {
		return api.Lease{}, err
	}
	return leases[0], nil
}

// unit is what the order system sees of a unit.
func (s *scene) unit(id string) (api.Unit, error) {
	var u api.Unit
	a, err := s.admin.send(s.ctx, "GET", "/units/"+id, nil)
	if err == nil {
		err = a.is(&u, 200)
	}
	return u, err
}

// stays wants a unit in one of several states.
func (s *scene) stays(id string, want ...api.UnitStateName) error {
	u, err := s.unit(id)
	if err != nil {
		return err
	}
	for _, w := range want {
		if u.State == w {
			return nil
		}
	}
	return fmt.Errorf("unit %s is %s, want %v", id, u.State, want)
}

// becomes waits a while for a unit's state.
func (s *scene) becomes(id string, want ...api.UnitStateName) error {
	for end := time.Now().Add(s.Patience); ; {
		err := s.stays(id, want...)
		if err == nil || time.Now().After(end) || s.ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.ctx.Done():
		}
	}
}

const operator = "conformance-1"

func (s *scene) cancel(order string, units ...string) (answer, error) {
	req := api.CancelRequest{Operator: operator, Reason: "conformance"}
	if len(units) > 0 {
		req.Units = &units
	}
	return s.admin.send(s.ctx, "POST", "/orders/"+order+"/cancel", req)
}

// clear takes the check's orders back, so that no other check is given their units.
func (s *scene) clear(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	s.ctx = limited
	for _, id := range s.placed {
		_, _ = s.cancel(id) // what cannot be cancelled is not given out again either
	}
}

// all joins what several callers at once came to.
func all(n int, do func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- do(i) }()
	}
	var out []error
	for range n {
		out = append(out, <-errs)
	}
	return errors.Join(out...)
}

// same wants two answers to the same request to be alike.
func same(x, y answer) error {
	var a, b any
	if x.status != y.status || json.Unmarshal(x.body, &a) != nil || json.Unmarshal(y.body, &b) != nil {
		return fmt.Errorf("the same request again: %v; first it was %v", y, x)
	}
	p, _ := json.Marshal(a)
	q, _ := json.Marshal(b)
	if string(p) != string(q) {
		return fmt.Errorf("the same request again: %v; first it was %v", y, x)
	}
	return nil
}
