package adminclient

import (
	"context"

	"github.com/usbkeyd/usbkeyd/api"
)

// FlagOrder holds an order or lets it go, and says whether it is urgent.
func (c *Client) FlagOrder(ctx context.Context, id string, flags api.OrderFlags) (api.OrderStatus, error) {
	var out api.OrderStatus
	resp, err := c.raw.PutOrderFlags(ctx, id, flags)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Cancel cancels an order, or those of its units that the request names.
func (c *Client) Cancel(ctx context.Context, orderID string, r api.CancelRequest) (api.CancelAnswer, error) {
	var out api.CancelAnswer
	resp, err := c.raw.PostCancel(ctx, orderID, r)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Resolve asks for a decision on what a person found out.
func (c *Client) Resolve(ctx context.Context, unitID string, r api.ResolveRequest) (api.DecisionAnswer, error) {
	var out api.DecisionAnswer
	resp, err := c.raw.PostResolve(ctx, unitID, r)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Reissue asks for a new generation of a unit.
func (c *Client) Reissue(ctx context.Context, unitID string, r api.ReissueRequest) (api.DecisionAnswer, error) {
	var out api.DecisionAnswer
	resp, err := c.raw.PostReissue(ctx, unitID, r)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Return takes a returned parcel's unit back.
func (c *Client) Return(ctx context.Context, unitID string, r api.ReturnRequest) (api.UnitState, error) {
	var out api.UnitState
	resp, err := c.raw.PostReturn(ctx, unitID, r)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// History reads what happened to a unit.
func (c *Client) History(ctx context.Context, unitID string) (api.UnitHistory, error) {
	var out api.UnitHistory
	resp, err := c.raw.GetUnitHistory(ctx, unitID)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Decisions lists what waits for a second person.
func (c *Client) Decisions(ctx context.Context) ([]api.Decision, error) {
	var out api.DecisionList
	resp, err := c.raw.ListDecisions(ctx)
	_, err = c.answer(resp, err, &out)
	return out.Decisions, err
}

// Approve approves a decision as the second person.
func (c *Client) Approve(ctx context.Context, id, operator string) (api.DecisionAnswer, error) {
	var out api.DecisionAnswer
	resp, err := c.raw.PostDecision(ctx, id, api.ApproveRequest{Operator: operator})
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Events lists up to a page of what happened after a sequence.
func (c *Client) Events(ctx context.Context, after int64) (api.EventList, error) {
	limit := page
	var out api.EventList
	resp, err := c.raw.ListEvents(ctx, &api.ListEventsParams{After: &after, Limit: &limit})
	_, err = c.answer(resp, err, &out)
	return out, err
}

// DrainStation says whether a station gets new units.
func (c *Client) DrainStation(ctx context.Context, name string, drain bool) (api.Station, error) {
	var out api.Station
	resp, err := c.raw.PutStationDrain(ctx, name, api.DrainRequest{Drain: drain})
	_, err = c.answer(resp, err, &out)
	return out, err
}

// ResetStation gives a station units again whose breaker has tripped.
func (c *Client) ResetStation(ctx context.Context, name string) (api.Station, error) {
	var out api.Station
	resp, err := c.raw.PostStationReset(ctx, name)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// RevokeStation shuts a station out for good.
func (c *Client) RevokeStation(ctx context.Context, name string) (api.Station, error) {
	var out api.Station
	resp, err := c.raw.PostStationRevoke(ctx, name)
	_, err = c.answer(resp, err, &out)
	return out, err
}
