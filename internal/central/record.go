package central

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/api/stationserver"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// GetRecord implements the operation.
func (s *stationAPI) GetRecord(ctx context.Context, r stationserver.GetRecordRequestObject) (stationserver.GetRecordResponseObject, error) {
	rec, err := s.store.Record(ctx, stationOf(ctx), r.InstanceId)
	if err != nil {
		return nil, err
	}
	return stationserver.GetRecord200JSONResponse(anchorOf(rec)), nil
}

// PutRecord implements the operation.
func (s *stationAPI) PutRecord(ctx context.Context, r stationserver.PutRecordRequestObject) (stationserver.PutRecordResponseObject, error) {
	part, err := s.recordPart(ctx, r)
	if err != nil {
		return nil, err
	}
	rec, err := s.store.PutRecord(ctx, part)
	if err != nil {
		return nil, err
	}
	return stationserver.PutRecord200JSONResponse(anchorOf(rec)), nil
}

// recordPart checks the station's signature and adds this server's. That one is shown to
// nobody before the store has found the part to be right.
func (s *Server) recordPart(ctx context.Context, r stationserver.PutRecordRequestObject) (store.RecordPart, error) {
	wrong := func(pointer string, err error) (store.RecordPart, error) {
		return store.RecordPart{}, problem(api.ProblemInvalidContent, "", api.FieldError{Pointer: pointer, Detail: err.Error()})
	}
	station := stationOf(ctx)
	public := keyOf(ctx)
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return store.RecordPart{}, fmt.Errorf("key of station %s: %w", station, err)
	}
	known, err := audit.NewVerifier(station, public)
	if err != nil {
		return wrong("/checkpoint", err)
	}
	signed := []byte(r.Body.Checkpoint)
	checkpoint, by, err := audit.Open(signed, audit.Origin(station, r.InstanceId), known)
	if err == nil && len(by.Unknown) > 0 {
		err = fmt.Errorf("%w: it has %d more signatures than the station's", audit.ErrCheckpoint, len(by.Unknown))
	}
	if err == nil && checkpoint.Size != r.Body.First+int64(len(r.Body.Entries)) {
		err = fmt.Errorf("%w: its size is not that of the entries", audit.ErrCheckpoint)
	}
	if err != nil {
		return wrong("/checkpoint", err)
	}
	signer, err := audit.NewSigner(audit.Cosigner, s.stationRoot.Key())
	if err != nil {
		return store.RecordPart{}, err
	}
	note, err := audit.Cosign(signed, known, signer)
	if err != nil {
		return store.RecordPart{}, err
	}
	part := store.RecordPart{
		Station: station, InstanceID: r.InstanceId, Checkpoint: checkpoint, Note: string(note), StationKey: spki,
		First: r.Body.First, Lines: make([][]byte, len(r.Body.Entries)),
	}
	for i, line := range r.Body.Entries {
		part.Lines[i] = []byte(line)
	}
	return part, nil
}

func anchorOf(r store.Record) api.RecordAnchor {
	return api.RecordAnchor{Size: r.Size, Checkpoint: optional(r.Note), Forked: !r.ForkedAt.IsZero()}
}

// ListRecords implements the operation.
func (s *adminAPI) ListRecords(ctx context.Context, r adminserver.ListRecordsRequestObject) (adminserver.ListRecordsResponseObject, error) {
	if _, err := s.store.Station(ctx, r.Name); err != nil {
		return nil, err
	}
	rows, err := s.store.Records(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	out := adminserver.ListRecords200JSONResponse{Records: make([]api.Record, len(rows))}
	for i, rec := range rows {
		out.Records[i] = api.Record{
			InstanceId: rec.InstanceID, Size: rec.Size, Checkpoint: rec.Note, StationKey: rec.StationKey,
			BegunAt: rec.BegunAt, UpdatedAt: rec.UpdatedAt, ForkedAt: optionalTime(rec.ForkedAt),
		}
	}
	return out, nil
}

// ListRecordEntries implements the operation.
func (s *adminAPI) ListRecordEntries(ctx context.Context, r adminserver.ListRecordEntriesRequestObject) (adminserver.ListRecordEntriesResponseObject, error) {
	rec, err := s.store.Record(ctx, r.Name, r.InstanceId)
	if err != nil {
		return nil, err
	}
	lines, err := s.store.RecordLines(ctx, r.Name, r.InstanceId, int64(offset(r.Params.Offset)), limit(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return adminserver.ListRecordEntries200JSONResponse{Entries: append([]string{}, lines...), Total: int(rec.Size)}, nil
}
