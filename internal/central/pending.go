package central

import (
	"context"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/api/stationserver"
)

// These operations are in the contract and not served yet.

// PostAdopt implements the operation.
func (s *stationAPI) PostAdopt(context.Context, stationserver.PostAdoptRequestObject) (stationserver.PostAdoptResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PutShipment implements the operation.
func (s *stationAPI) PutShipment(context.Context, stationserver.PutShipmentRequestObject) (stationserver.PutShipmentResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PutOrderFlags implements the operation.
func (s *adminAPI) PutOrderFlags(context.Context, adminserver.PutOrderFlagsRequestObject) (adminserver.PutOrderFlagsResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PostCancel implements the operation.
func (s *adminAPI) PostCancel(context.Context, adminserver.PostCancelRequestObject) (adminserver.PostCancelResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// GetUnitHistory implements the operation.
func (s *adminAPI) GetUnitHistory(context.Context, adminserver.GetUnitHistoryRequestObject) (adminserver.GetUnitHistoryResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PostResolve implements the operation.
func (s *adminAPI) PostResolve(context.Context, adminserver.PostResolveRequestObject) (adminserver.PostResolveResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PostReissue implements the operation.
func (s *adminAPI) PostReissue(context.Context, adminserver.PostReissueRequestObject) (adminserver.PostReissueResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PostReturn implements the operation.
func (s *adminAPI) PostReturn(context.Context, adminserver.PostReturnRequestObject) (adminserver.PostReturnResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// ListDecisions implements the operation.
func (s *adminAPI) ListDecisions(context.Context, adminserver.ListDecisionsRequestObject) (adminserver.ListDecisionsResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PostDecision implements the operation.
func (s *adminAPI) PostDecision(context.Context, adminserver.PostDecisionRequestObject) (adminserver.PostDecisionResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// ListEvents implements the operation.
func (s *adminAPI) ListEvents(context.Context, adminserver.ListEventsRequestObject) (adminserver.ListEventsResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PutStationDrain implements the operation.
func (s *adminAPI) PutStationDrain(context.Context, adminserver.PutStationDrainRequestObject) (adminserver.PutStationDrainResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PostStationReset implements the operation.
func (s *adminAPI) PostStationReset(context.Context, adminserver.PostStationResetRequestObject) (adminserver.PostStationResetResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}

// PostStationRevoke implements the operation.
func (s *adminAPI) PostStationRevoke(context.Context, adminserver.PostStationRevokeRequestObject) (adminserver.PostStationRevokeResponseObject, error) {
	return nil, problem(api.ProblemUnavailable, "not served yet")
}
