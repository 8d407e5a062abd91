package central

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/orders"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// adminPolicies is what stationPolicies is for the administration listener.
func (s *Server) adminPolicies() map[string]policy {
	return map[string]policy{
		"ListOrders": {caller: anAdmin},
		"PutOrder": {caller: anAdmin, limit: smallBody, rules: func(r *http.Request, document any) []api.FieldError {
			return orders.Check(document, r.PathValue("orderId"), s.cfg.Clock())
		}},
		"GetOrder":         {caller: anAdmin},
		"ListUnits":        {caller: anAdmin},
		"GetUnit":          {caller: anAdmin},
		"GetSealedPin":     {caller: anAdmin},
		"ListCertificates": {caller: anAdmin},
		"GetCrl":           {caller: anAdmin},
		"ListStations":     {caller: anAdmin},
		"PutStation":       {caller: anAdmin, limit: smallBody},
	}
}

// adminAPI is the contract's administration side.
type adminAPI struct{ *Server }

// PutOrder implements the operation.
func (s *adminAPI) PutOrder(ctx context.Context, r adminserver.PutOrderRequestObject) (adminserver.PutOrderResponseObject, error) {
	o := *r.Body
	// The content is compared as it will be kept: in one form, times in UTC.
	o.DueAt, o.Approval.ApprovedAt = o.DueAt.UTC(), o.Approval.ApprovedAt.UTC()
	content, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode order %s: %w", r.OrderId, err)
	}
	created, err := s.store.PutOrder(ctx, store.Order{
		ID: o.OrderId, ProductCode: o.ProductCode, Company: o.Company.Name, Quantity: o.Quantity, DueAt: o.DueAt, Content: content,
	})
	if err != nil {
		return nil, err
	}
	status, err := s.orderStatus(ctx, o.OrderId)
	if err != nil {
		return nil, err
	}
	if created {
		s.ready.ring(forProduct(o.ProductCode))
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
	units, _, err := s.store.Units(ctx, store.UnitFilter{OrderID: id, Limit: row.Quantity})
	if err != nil {
		return api.OrderStatus{}, err
	}
	return api.OrderStatus{Order: o, AcceptedAt: row.AcceptedAt, HomeStation: optional(row.HomeStation), Units: unitsOf(units)}, nil
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
			HomeStation: optional(row.HomeStation), States: states,
		}
	}
	return out, nil
}

// ListUnits implements the operation.
func (s *adminAPI) ListUnits(ctx context.Context, r adminserver.ListUnitsRequestObject) (adminserver.ListUnitsResponseObject, error) {
	f := store.UnitFilter{OrderID: text(r.Params.OrderId), Limit: limit(r.Params.Limit), Offset: offset(r.Params.Offset)}
	if r.Params.State != nil {
		f.State = store.State(*r.Params.State)
	}
	rows, total, err := s.store.Units(ctx, f)
	if err != nil {
		return nil, err
	}
	return adminserver.ListUnits200JSONResponse{Units: unitsOf(rows), Total: total}, nil
}

// GetUnit implements the operation.
func (s *adminAPI) GetUnit(ctx context.Context, r adminserver.GetUnitRequestObject) (adminserver.GetUnitResponseObject, error) {
	u, err := s.store.Unit(ctx, r.UnitId)
	if err != nil {
		return nil, err
	}
	return adminserver.GetUnit200JSONResponse(unitOf(u)), nil
}

// GetSealedPin implements the operation.
func (s *adminAPI) GetSealedPin(ctx context.Context, r adminserver.GetSealedPinRequestObject) (adminserver.GetSealedPinResponseObject, error) {
	sealed, err := s.store.SealedUserPIN(ctx, r.UnitId)
	if err != nil {
		return nil, err
	}
	return adminserver.GetSealedPin200Applicationpkcs7MimeResponse{Body: bytes.NewReader(sealed), ContentLength: int64(len(sealed))}, nil
}

// ListCertificates implements the operation.
func (s *adminAPI) ListCertificates(ctx context.Context, r adminserver.ListCertificatesRequestObject) (adminserver.ListCertificatesResponseObject, error) {
	recorder, ok := s.ca.(ca.Recorder)
	if !ok {
		return nil, problem(api.ProblemNotFound, "this CA's record cannot be listed from here")
	}
	records, total, err := recorder.Issued(ctx, limit(r.Params.Limit), offset(r.Params.Offset))
	if err != nil {
		return nil, err
	}
	out := adminserver.ListCertificates200JSONResponse{Certificates: make([]api.CertificateRecord, len(records)), Total: total}
	for i, c := range records {
		unitID, generation := splitRequestID(c.RequestID)
		out.Certificates[i] = api.CertificateRecord{
			RequestId: c.RequestID, UnitId: unitID, Generation: generation,
			CertificateSerial: c.Serial, CertificateSha256: c.SHA256, PublicKeySha256: c.PublicKeySHA256,
			Subject: c.Subject, Issuer: c.Issuer, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		}
	}
	return out, nil
}

// GetCrl implements the operation.
func (s *adminAPI) GetCrl(ctx context.Context, r adminserver.GetCrlRequestObject) (adminserver.GetCrlResponseObject, error) {
	maker, ok := s.ca.(ca.CRLMaker)
	if !ok {
		return nil, problem(api.ProblemNotFound, "this CA's revocation lists are not made here; they are where the CA publishes them")
	}
	lists, err := maker.CRLs(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range lists {
		if c.Name == string(r.Crl) {
			return adminserver.GetCrl200ApplicationpkixCrlResponse{Body: bytes.NewReader(c.DER), ContentLength: int64(len(c.DER))}, nil
		}
	}
	return nil, problem(api.ProblemNotFound, fmt.Sprintf("the CA makes no revocation list %q", r.Crl))
}

// splitRequestID undoes store.RequestID. What the CA issued for somebody else keeps its id, with generation 0.
func splitRequestID(id string) (unitID string, generation int32) {
	unit, number, ok := strings.Cut(id, "-g")
	n, err := strconv.ParseInt(number, 10, 32)
	if !ok || err != nil {
		return id, 0
	}
	return unit, int32(n)
}

// ListStations implements the operation.
func (s *adminAPI) ListStations(ctx context.Context, _ adminserver.ListStationsRequestObject) (adminserver.ListStationsResponseObject, error) {
	rows, err := s.store.Stations(ctx)
	if err != nil {
		return nil, err
	}
	out := adminserver.ListStations200JSONResponse{Stations: make([]api.Station, len(rows))}
	for i, st := range rows {
		out.Stations[i] = api.Station{
			Name: st.Name, CertificateSha256: st.CertificateSHA256, NotAfter: st.NotAfter,
			LastSeenAt: optionalTime(st.LastSeenAt), Version: optional(st.Version), Leased: &st.Held,
		}
	}
	return out, nil
}

// PutStation implements the operation.
func (s *adminAPI) PutStation(ctx context.Context, r adminserver.PutStationRequestObject) (adminserver.PutStationResponseObject, error) {
	request, err := csr.ParseRequest(r.Body.Csr)
	if err != nil {
		return nil, problem(api.ProblemCsrInvalid, err.Error())
	}
	st, err := s.store.PutStation(ctx, r.Name, hexSHA256(request.SPKI), func(time.Time) ([]byte, time.Time, error) {
		cert, err := s.stationRoot.SignStation(r.Name, request.PublicKey)
		if err != nil {
			return nil, time.Time{}, err
		}
		return cert.Raw, cert.NotAfter, nil
	})
	if err != nil {
		return nil, err
	}
	roots := rawCertificates(s.ca.Roots())
	return adminserver.PutStation200JSONResponse{
		Name: st.Name, Certificate: st.Certificate, ServerTrust: s.stationRoot.Certificate().Raw, CertificateTrust: &roots,
	}, nil
}

// The contract's defaults for lists.
const defaultLimit = 100

func limit(n *int) int {
	if n == nil {
		return defaultLimit
	}
	return *n
}

func offset(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}
