package central

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
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
		"GetOrder":          {caller: anAdmin},
		"PutOrderFlags":     {caller: anAdmin, limit: smallBody},
		"PostCancel":        {caller: anAdmin, limit: smallBody},
		"ListUnits":         {caller: anAdmin},
		"GetUnit":           {caller: anAdmin},
		"GetUnitHistory":    {caller: anAdmin},
		"GetSealedPin":      {caller: anAdmin},
		"ListEscrows":       {caller: anAdmin},
		"GetSealedSoPin":    {caller: anAdmin},
		"PostResolve":       {caller: anAdmin, limit: largeBody},
		"PostReissue":       {caller: anAdmin, limit: smallBody},
		"PostReturn":        {caller: anAdmin, limit: smallBody},
		"ListDecisions":     {caller: anAdmin},
		"PostDecision":      {caller: anAdmin, limit: smallBody},
		"ListEvents":        {caller: anAdmin},
		"ListCertificates":  {caller: anAdmin},
		"GetCrl":            {caller: anAdmin},
		"ListStations":      {caller: anAdmin},
		"PutStation":        {caller: anAdmin, limit: smallBody},
		"PutStationDrain":   {caller: anAdmin, limit: smallBody},
		"PostStationReset":  {caller: anAdmin},
		"PostStationRevoke": {caller: anAdmin},
		"ListRecords":       {caller: anAdmin},
		"ListRecordEntries": {caller: anAdmin},
		"PostInvitation":    {caller: anAdmin, limit: smallBody},
		"ListEnrollments":   {caller: anAdmin},
		"PostApproval":      {caller: anAdmin, limit: smallBody},
	}
}

// adminAPI is the contract's administration side.
type adminAPI struct{ *Server }

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
	return adminserver.ListUnits200JSONResponse{Units: s.unitsOf(rows), Total: total}, nil
}

// GetUnit implements the operation.
func (s *adminAPI) GetUnit(ctx context.Context, r adminserver.GetUnitRequestObject) (adminserver.GetUnitResponseObject, error) {
	u, err := s.store.Unit(ctx, r.UnitId)
	if err != nil {
		return nil, err
	}
	return adminserver.GetUnit200JSONResponse(s.unitOf(u)), nil
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
