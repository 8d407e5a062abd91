package central

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// PutOrder implements the operation.
func (s *adminAPI) PutOrder(ctx context.Context, r adminserver.PutOrderRequestObject) (adminserver.PutOrderResponseObject, error) {
	o := *r.Body
	// The content is compared as it will be kept: in one form, times in UTC.
	o.Approval.ApprovedAt = o.Approval.ApprovedAt.UTC()
	if o.DueAt != nil {
		named := o.DueAt.UTC()
		o.DueAt = &named
	}
	revision := 1
	if o.Revision != nil {
		revision = *o.Revision
	}
	o.Revision = &revision
	fixed, err := fixedDigest(o)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode order %s: %w", r.OrderId, err)
	}
	due, err := s.dueAt(ctx, o, content)
	if err != nil {
		return nil, err
	}
	revised, err := s.store.PutOrder(ctx, store.Order{
		ID: o.OrderId, ProductCode: o.ProductCode, Company: o.Company.Name, Quantity: o.Quantity, DueAt: due, Content: content,
		Revision: revision, FixedSHA256: fixed,
	})
	if err != nil {
		return nil, err
	}
	status, err := s.orderStatus(ctx, o.OrderId)
	if err != nil {
		return nil, err
	}
	if revised.Changed {
		s.ready.ring(forProduct(o.ProductCode))
		s.changed.ringAll()
	}
	if len(revised.Dropped) > 0 {
		status.Dropped = &revised.Dropped
	}
	if revised.Created {
		return adminserver.PutOrder201JSONResponse(status), nil
	}
	return adminserver.PutOrder200JSONResponse(status), nil
}

// GetOrder implements the operation.
func (s *adminAPI) GetOrder(ctx context.Context, r adminserver.GetOrderRequestObject) (adminserver.GetOrderResponseObject, error) {
	status, err := s.orderStatus(ctx, r.OrderId)
	return adminserver.GetOrder200JSONResponse(status), err
}

func (s *Server) orderStatus(ctx context.Context, id string) (api.OrderStatus, error) {
	row, err := s.store.Order(ctx, id)
	if err != nil {
		return api.OrderStatus{}, err
	}
	o, err := orderOf(row)
	if err != nil {
		return api.OrderStatus{}, err
	}
	units, _, err := s.store.Units(ctx, store.UnitFilter{OrderID: id, Limit: row.Numbered})
	if err != nil {
		return api.OrderStatus{}, err
	}
	status := api.OrderStatus{
		Order: o, AcceptedAt: row.AcceptedAt, DueAt: row.DueAt, HomeStation: optional(row.HomeStation), Hold: row.Hold, Urgent: row.Urgent,
		CancelledAt: optionalTime(row.CancelledAt), Blocked: optional(row.Blocked), PersonalDataRemovedAt: optionalTime(row.ClearedAt),
		Units: s.unitsOf(units),
	}
	living := 0
	for _, u := range units {
		if !u.State.Over() {
			living++
		}
	}
	if surplus := living - row.Quantity; surplus > 0 {
		status.Surplus = &surplus
	}
	return status, nil
}

// ListOrders implements the operation.
func (s *adminAPI) ListOrders(ctx context.Context, r adminserver.ListOrdersRequestObject) (adminserver.ListOrdersResponseObject, error) {
	rows, total, err := s.store.Orders(ctx, limit(r.Params.Limit), offset(r.Params.Offset))
	if err != nil {
		return nil, err
	}
	out := adminserver.ListOrders200JSONResponse{Orders: make([]api.OrderSummary, len(rows)), Total: total}
	for i, row := range rows {
		states := make(map[string]int)
		for state, n := range row.States {
			states[string(state)] = n
		}
		out.Orders[i] = api.OrderSummary{
			OrderId: row.ID, ProductCode: row.ProductCode, Company: row.Company, Quantity: row.Quantity, DueAt: row.DueAt,
			HomeStation: optional(row.HomeStation), States: states, Revision: row.Revision, Hold: row.Hold, Urgent: row.Urgent,
			CancelledAt: optionalTime(row.CancelledAt), Blocked: optional(row.Blocked),
		}
	}
	return out, nil
}

// fixedDigest is over what a revision may not change once a unit of the order was
// leased: everything but the quantity, the due time and the approval. Digests are
// kept, so it stays as it was when every order had a due time.
func fixedDigest(o api.Order) (string, error) {
	fixed := api.Order{DueAt: &time.Time{}, OrderId: o.OrderId, ProductCode: o.ProductCode, ValidityYears: o.ValidityYears, Company: o.Company, Handler: o.Handler, Shipping: o.Shipping}
	text, err := json.Marshal(fixed)
	if err != nil {
		return "", fmt.Errorf("digest of order %s: %w", o.OrderId, err)
	}
	return hexSHA256(text), nil
}

// PutOrderFlags implements the operation.
func (s *adminAPI) PutOrderFlags(ctx context.Context, r adminserver.PutOrderFlagsRequestObject) (adminserver.PutOrderFlagsResponseObject, error) {
	if err := s.store.FlagOrder(ctx, r.OrderId, r.Body.Hold, r.Body.Urgent); err != nil {
		return nil, err
	}
	s.ready.ringAll()
	status, err := s.orderStatus(ctx, r.OrderId)
	return adminserver.PutOrderFlags200JSONResponse(status), err
}

// PostCancel implements the operation.
func (s *adminAPI) PostCancel(ctx context.Context, r adminserver.PostCancelRequestObject) (adminserver.PostCancelResponseObject, error) {
	c := store.Cancellation{OrderID: r.OrderId, Operator: r.Body.Operator, Reason: r.Body.Reason}
	if r.Body.Units != nil {
		c.Units = *r.Body.Units
	}
	units, err := s.store.Cancel(ctx, c)
	if err != nil {
		return nil, err
	}
	s.changed.ringAll()
	s.revoker.kick()
	answer := adminserver.PostCancel200JSONResponse{OrderId: r.OrderId, Units: make([]api.CancelledUnit, len(units))}
	for i, u := range units {
		answer.Units[i] = api.CancelledUnit{
			UnitId: u.Unit.ID, State: api.UnitStateName(u.Unit.State), Cancelled: u.Unit.State.Over(), WaitsFor: optional(u.WaitsFor),
		}
	}
	return answer, nil
}
