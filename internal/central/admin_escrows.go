package central

import (
	"bytes"
	"context"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// ListEscrows implements the operation.
func (s *adminAPI) ListEscrows(ctx context.Context, r adminserver.ListEscrowsRequestObject) (adminserver.ListEscrowsResponseObject, error) {
	rows, total, err := s.store.Escrows(ctx, store.EscrowFilter{
		TokenSerial: text(r.Params.TokenSerial), UnitID: text(r.Params.UnitId), Limit: limit(r.Params.Limit), Offset: offset(r.Params.Offset),
	})
	if err != nil {
		return nil, err
	}
	out := adminserver.ListEscrows200JSONResponse{Escrows: make([]api.EscrowRecord, len(rows)), Total: total}
	for i, e := range rows {
		out.Escrows[i] = api.EscrowRecord{
			EscrowId: e.ID, UnitId: e.UnitID, Epoch: e.Epoch, Station: e.Station, TokenSerial: optional(e.TokenSerial),
			Sha256: e.SealedSHA256, Recipients: e.Recipients, CreatedAt: e.CreatedAt,
		}
	}
	return out, nil
}

// GetSealedSoPin implements the operation.
func (s *adminAPI) GetSealedSoPin(ctx context.Context, r adminserver.GetSealedSoPinRequestObject) (adminserver.GetSealedSoPinResponseObject, error) {
	sealed, err := s.store.SealedSOPIN(ctx, r.EscrowId)
	if err != nil {
		return nil, err
	}
	return adminserver.GetSealedSoPin200Applicationpkcs7MimeResponse{Body: bytes.NewReader(sealed), ContentLength: int64(len(sealed))}, nil
}
