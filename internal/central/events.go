package central

import (
	"context"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// ListEvents implements the operation.
func (s *adminAPI) ListEvents(ctx context.Context, r adminserver.ListEventsRequestObject) (adminserver.ListEventsResponseObject, error) {
	var after int64
	if r.Params.After != nil {
		after = *r.Params.After
	}
	rows, err := s.waitForEvents(ctx, after, limit(r.Params.Limit), wait(r.Params.Wait))
	if err != nil {
		return nil, err
	}
	out := adminserver.ListEvents200JSONResponse{Events: make([]api.Event, len(rows)), Last: after}
	for i, e := range rows {
		out.Events[i], out.Last = eventOf(e), e.Sequence
	}
	return out, nil
}

// outgoingEvents is what waits of events are rung for.
const outgoingEvents = "events"

func (s *Server) waitForEvents(ctx context.Context, after int64, limit int, wait time.Duration) ([]store.OutgoingEvent, error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	poll := time.NewTicker(slowPoll)
	defer poll.Stop()
	events := s.changed.local.listen(outgoingEvents)
	defer events.leave()
	for {
		bell := events.next()
		rows, err := s.store.Events(ctx, after, limit)
		if err != nil || len(rows) > 0 {
			return rows, err
		}
		select {
		case <-bell:
		case <-poll.C: // for what no bell tells of
		case <-end.C:
			return nil, nil
		case <-s.stopping.Done():
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func eventOf(e store.OutgoingEvent) api.Event {
	out := api.Event{
		Sequence: e.Sequence, EventId: e.ID, Kind: api.EventKind(e.Kind), OrderId: e.OrderID, HappenedAt: e.At,
		UnitId: optional(e.UnitID), Station: optional(e.Station), TokenSerial: optional(e.TokenSerial), CertificateSerial: optional(e.CertificateSerial),
	}
	if e.UnitID != "" {
		state := api.UnitStateName(e.State)
		out.State, out.Generation = &state, &e.Generation
	}
	return out
}
