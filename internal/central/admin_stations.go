package central

import (
	"context"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// ListStations implements the operation.
func (s *adminAPI) ListStations(ctx context.Context, _ adminserver.ListStationsRequestObject) (adminserver.ListStationsResponseObject, error) {
	rows, err := s.store.Stations(ctx)
	if err != nil {
		return nil, err
	}
	out := adminserver.ListStations200JSONResponse{Stations: make([]api.Station, len(rows))}
	for i, st := range rows {
		out.Stations[i] = stationOfRow(st)
		out.Stations[i].Leased = &st.Held
		out.Stations[i].Records, out.Stations[i].RecordEntries = &st.Records, &st.Recorded
		out.Stations[i].RecordForkedAt = optionalTime(st.ForkedAt)
	}
	return out, nil
}

// PutStation implements the operation.
func (s *adminAPI) PutStation(ctx context.Context, r adminserver.PutStationRequestObject) (adminserver.PutStationResponseObject, error) {
	request, err := csr.ParseRequest(r.Body.Csr)
	if err != nil {
		return nil, problem(api.ProblemCsrInvalid, err.Error())
	}
	// A station signs its record with this key, and nothing leaves without that.
	if _, err := audit.NewVerifier(r.Name, request.PublicKey); err != nil {
		return nil, problem(api.ProblemCsrInvalid, err.Error())
	}
	st, err := s.store.PutStation(ctx, r.Name, hexSHA256(request.SPKI), func(name string, _ time.Time) ([]byte, time.Time, error) {
		return signed(s.stationRoot.SignStation(name, request.PublicKey))
	})
	if err != nil {
		return nil, err
	}
	return adminserver.PutStation200JSONResponse(s.credentialOf(st)), nil
}

func stationOfRow(st store.Station) api.Station {
	return api.Station{
		Name: st.Name, Identity: api.IdentityTier(st.Tier), EndorsementKeySha256: optional(st.EKSHA256), CertificateSha256: st.CertificateSHA256, NotAfter: st.NotAfter,
		LastSeenAt: optionalTime(st.LastSeenAt), Version: optional(st.Version),
		Drain: st.Drain, Revoked: st.Revoked, Failures: st.Failures, TrippedUntil: optionalTime(st.TrippedUntil),
	}
}

// PutStationDrain implements the operation.
func (s *adminAPI) PutStationDrain(ctx context.Context, r adminserver.PutStationDrainRequestObject) (adminserver.PutStationDrainResponseObject, error) {
	st, err := s.store.DrainStation(ctx, r.Name, r.Body.Drain)
	if err != nil {
		return nil, err
	}
	s.ready.ringAll()
	return adminserver.PutStationDrain200JSONResponse(stationOfRow(st)), nil
}

// PostStationReset implements the operation.
func (s *adminAPI) PostStationReset(ctx context.Context, r adminserver.PostStationResetRequestObject) (adminserver.PostStationResetResponseObject, error) {
	st, err := s.store.ResetStation(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	s.ready.ringAll()
	return adminserver.PostStationReset200JSONResponse(stationOfRow(st)), nil
}

// PostStationRevoke implements the operation.
func (s *adminAPI) PostStationRevoke(ctx context.Context, r adminserver.PostStationRevokeRequestObject) (adminserver.PostStationRevokeResponseObject, error) {
	if err := s.store.RevokeStation(ctx, r.Name); err != nil {
		return nil, err
	}
	st, err := s.store.Station(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	s.ready.ringAll()
	s.changed.ringAll()
	return adminserver.PostStationRevoke200JSONResponse(stationOfRow(st)), nil
}
