package central

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/stationserver"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// PostAdopt implements the operation.
func (s *stationAPI) PostAdopt(ctx context.Context, r stationserver.PostAdoptRequestObject) (stationserver.PostAdoptResponseObject, error) {
	statement := api.Adoption{
		Station: stationOf(ctx), SessionID: r.Body.SessionId, UnitID: r.UnitId, Generation: r.Body.Generation,
		Epoch: r.Body.Epoch, TokenSerial: r.Body.TokenSerial, PublicKey: r.Body.PublicKey,
	}.Statement()
	if err := checkProof(r.Body, statement); err != nil {
		return nil, problem(api.ProblemProofInvalid, err.Error())
	}
	lease, err := s.store.Adopt(ctx, store.Adoption{
		Station: stationOf(ctx), SessionID: r.Body.SessionId, KeySHA256: callerOf(ctx).station.PublicKeySHA256,
		UnitID: r.UnitId, Generation: r.Body.Generation, Epoch: r.Body.Epoch, TokenSerial: r.Body.TokenSerial,
		PublicKeySHA256: hexSHA256(r.Body.PublicKey), StatementSHA256: hexSHA256(statement),
	})
	if err != nil {
		return nil, err
	}
	if lease.Unit.State == store.Bound {
		s.issuer.kick(lease.Unit.ID, lease.Unit.Generation)
	}
	given, err := leaseOf(lease)
	if err != nil {
		return nil, err
	}
	return stationserver.PostAdopt200JSONResponse{Lease: given, State: api.UnitStateName(lease.Unit.State)}, nil
}

// checkProof sees that the statement is signed by the key that the request shows;
// whether that is the bound one is the store's to say.
func checkProof(r *api.AdoptRequest, statement []byte) error {
	key, err := x509.ParsePKIXPublicKey(r.PublicKey)
	if err != nil {
		return fmt.Errorf("read the public key: %w", err)
	}
	hash := crypto.SHA256
	switch r.Hash {
	case api.AdoptSHA384:
		hash = crypto.SHA384
	case api.AdoptSHA512:
		hash = crypto.SHA512
	}
	return csr.VerifyPossession(key, statement, r.Signature, hash)
}

// PutShipment implements the operation.
func (s *stationAPI) PutShipment(ctx context.Context, r stationserver.PutShipmentRequestObject) (stationserver.PutShipmentResponseObject, error) {
	u, err := s.store.PutShipment(ctx, store.Shipment{
		UnitID: r.UnitId, Generation: r.Body.Generation, Station: stationOf(ctx),
		Waybill: r.Body.Waybill, Scans: r.Body.Scans, PackedBy: r.Body.PackedBy,
	})
	if err != nil {
		return nil, err
	}
	s.changed.ringAll()
	return stationserver.PutShipment200JSONResponse(unitStateOf(u)), nil
}

// PostShipped implements the operation.
func (s *stationAPI) PostShipped(ctx context.Context, r stationserver.PostShippedRequestObject) (stationserver.PostShippedResponseObject, error) {
	asked := make([]store.Finished, len(r.Body.Units))
	for i, u := range r.Body.Units {
		asked[i] = store.Finished{UnitID: u.UnitId, Generation: u.Generation, TokenSerial: u.TokenSerial}
	}
	gone, err := s.store.Shipped(ctx, stationOf(ctx), asked)
	if err != nil {
		return nil, err
	}
	out := stationserver.PostShipped200JSONResponse{Units: make([]api.FinishedUnit, len(gone))}
	for i, f := range gone {
		out.Units[i] = api.FinishedUnit{UnitId: f.UnitID, Generation: f.Generation, TokenSerial: f.TokenSerial}
	}
	return out, nil
}

// PutMailer implements the operation.
func (s *stationAPI) PutMailer(ctx context.Context, r stationserver.PutMailerRequestObject) (stationserver.PutMailerResponseObject, error) {
	u, err := s.store.PutMailer(ctx, store.Mailer{UnitID: r.UnitId, Generation: r.Generation, Station: stationOf(ctx), ConfirmedBy: r.Body.ConfirmedBy})
	if err != nil {
		return nil, err
	}
	return stationserver.PutMailer200JSONResponse(unitStateOf(u)), nil
}
