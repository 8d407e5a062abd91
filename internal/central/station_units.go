package central

import (
	"context"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/stationserver"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// PutEscrow implements the operation.
func (s *stationAPI) PutEscrow(ctx context.Context, r stationserver.PutEscrowRequestObject) (stationserver.PutEscrowResponseObject, error) {
	infoOf(ctx).unit = r.Body.UnitId
	fields := checkSealed("/sealedSoPin", r.Body.SealedSoPin)
	fields = append(fields, checkRecipients("/recipients", r.Body.Recipients, recipientDigests(s.cfg.SOPINRecipients))...)
	if len(fields) > 0 {
		return nil, problem(api.ProblemInvalidContent, fieldCount(len(fields)), fields...)
	}
	e, err := s.store.PutEscrow(ctx, store.Escrow{
		ID: r.EscrowId, UnitID: r.Body.UnitId, Epoch: r.Body.Epoch, Station: stationOf(ctx),
		Sealed: r.Body.SealedSoPin, Recipients: r.Body.Recipients,
	})
	if err != nil {
		return nil, err
	}
	return stationserver.PutEscrow200JSONResponse(escrowOf(e)), nil
}

// PutEscrowToken implements the operation.
func (s *stationAPI) PutEscrowToken(ctx context.Context, r stationserver.PutEscrowTokenRequestObject) (stationserver.PutEscrowTokenResponseObject, error) {
	e, err := s.store.PutEscrowToken(ctx, stationOf(ctx), r.EscrowId, r.Body.TokenSerial)
	if err != nil {
		return nil, err
	}
	infoOf(ctx).unit = e.UnitID
	return stationserver.PutEscrowToken200JSONResponse(escrowOf(e)), nil
}

// PutCsr implements the operation.
func (s *stationAPI) PutCsr(ctx context.Context, r stationserver.PutCsrRequestObject) (stationserver.PutCsrResponseObject, error) {
	request, err := csr.ParseRequest(r.Body.Csr)
	if err != nil {
		return nil, problem(api.ProblemCsrInvalid, err.Error())
	}
	u, b, err := s.store.Bind(ctx, store.Binding{
		UnitID: r.UnitId, Generation: r.Generation, Epoch: r.Body.Epoch, Station: stationOf(ctx),
		CSR: request.Raw, PublicKeySHA256: hexSHA256(request.SPKI),
		TokenSerial: r.Body.TokenSerial, TokenModel: r.Body.TokenModel, KeyID: r.Body.KeyId, EscrowID: r.Body.EscrowId,
	}, func(o store.Order) error {
		order, err := orderOf(o)
		if err != nil {
			return err
		}
		if err := checkSubject(request, order); err != nil {
			return problem(api.ProblemCsrInvalid, err.Error())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if b.Certificate == nil && u.State.InCustody() {
		u, b, err = s.waitForCertificate(ctx, r.UnitId, r.Generation, s.cfg.IssueWait, func() { s.issuer.kick(u.ID, u.Generation) })
	} else {
		u, b, err = s.waitForCertificate(ctx, r.UnitId, r.Generation, s.cfg.IssueWait, nil)
	}
	if err != nil {
		return nil, err
	}
	if b.Certificate == nil {
		return stationserver.PutCsr202JSONResponse{IssuingJSONResponse: issuing(u)}, nil
	}
	return stationserver.PutCsr200JSONResponse(certificateOf(b)), nil
}

// GetCertificate implements the operation.
func (s *stationAPI) GetCertificate(ctx context.Context, r stationserver.GetCertificateRequestObject) (stationserver.GetCertificateResponseObject, error) {
	u, b, err := s.waitForCertificate(ctx, r.UnitId, r.Generation, wait(r.Params.Wait), nil)
	if err != nil {
		return nil, err
	}
	if b.Certificate == nil {
		return stationserver.GetCertificate202JSONResponse{IssuingJSONResponse: issuing(u)}, nil
	}
	return stationserver.GetCertificate200JSONResponse(certificateOf(b)), nil
}

func issuing(u store.Unit) stationserver.IssuingJSONResponse {
	after := 1
	return stationserver.IssuingJSONResponse{Body: unitStateOf(u), Headers: stationserver.IssuingResponseHeaders{RetryAfter: &after}}
}

// waitForCertificate looks until there is a certificate, the unit cannot get one
// any more, or the time is over. begin, unless it is nil, has it made: there is none
// before, and the end of that is rung.
func (s *Server) waitForCertificate(ctx context.Context, unitID string, generation int32, wait time.Duration, begin func()) (u store.Unit, b store.Binding, err error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	poll := time.NewTicker(slowPoll)
	defer poll.Stop()
	unit := s.changed.local.listen(unitID)
	defer unit.leave()
	for last := false; ; {
		rung := unit.next()
		if begin != nil {
			begin()
			begin = nil
		} else {
			u, b, err = s.store.Collect(ctx, stationOf(ctx), unitID, generation)
			if err == nil {
				err = collectable(u, generation)
			}
			if err != nil || b.Certificate != nil || last {
				return u, b, err
			}
		}
		select {
		case <-rung:
		case <-poll.C:
		case <-end.C:
			last = true
		case <-s.stopping.Done():
			last = true
		case <-ctx.Done():
			return u, b, ctx.Err()
		}
	}
}

// collectable says whether the station may have the certificate, now or later.
func collectable(u store.Unit, generation int32) error {
	switch {
	case u.Generation != generation:
		return problem(api.ProblemUnitState, fmt.Sprintf("unit %s is at generation %d", u.ID, u.Generation))
	case u.State.Over():
		return problem(api.ProblemCancelled, fmt.Sprintf("unit %s is %s", u.ID, u.State))
	case u.State == store.Stranded:
		// It has lost the unit and may take it back: the answer must not read like a refusal.
		p := problem(api.ProblemStaleEpoch, fmt.Sprintf("unit %s is %s: custody ran out; take it back with a proof of its key", u.ID, u.State))
		p.CurrentEpoch = &u.Epoch
		return p
	case u.State == store.Held:
		return problem(api.ProblemUnitState, fmt.Sprintf("unit %s is %s: %s", u.ID, u.State, u.HeldReason))
	case u.State.InCustody(), u.State == store.Installed, u.State == store.Shipped:
		return nil
	}
	return problem(api.ProblemUnitState, fmt.Sprintf("unit %s is %s", u.ID, u.State))
}

// PutResult implements the operation.
func (s *stationAPI) PutResult(ctx context.Context, r stationserver.PutResultRequestObject) (stationserver.PutResultResponseObject, error) {
	var fields []api.FieldError
	result := store.Result{
		UnitID: r.UnitId, Generation: r.Generation, Epoch: r.Body.Epoch, Station: stationOf(ctx),
		Outcome: string(r.Body.Outcome), Reason: text(r.Body.Reason),
		TokenSerial: r.Body.TokenSerial, TokenLabel: text(r.Body.TokenLabel), KeyID: text(r.Body.KeyId),
		CertificateSerial: text(r.Body.CertificateSerial), CertificateSHA256: text(r.Body.CertificateSha256),
		EscrowID: text(r.Body.EscrowId), Seconds: r.Body.Seconds,
	}
	if r.Body.SealedUserPin != nil {
		result.SealedUserPIN = *r.Body.SealedUserPin
		fields = append(fields, checkSealed("/sealedUserPin", result.SealedUserPIN)...)
	}
	if d := r.Body.PinDelivery; d != nil && *d != api.PinSealed {
		result.PINDelivery = string(*d)
	}
	if r.Body.UserPinRecipients != nil {
		result.UserPINRecipients = *r.Body.UserPinRecipients
		fields = append(fields, checkRecipients("/userPinRecipients", result.UserPINRecipients, recipientDigests(s.cfg.UserPINRecipients))...)
	}
	if len(fields) > 0 {
		return nil, problem(api.ProblemInvalidContent, fieldCount(len(fields)), fields...)
	}
	u, err := s.store.PutResult(ctx, result)
	if err != nil {
		return nil, err
	}
	s.changed.ring(r.UnitId)
	s.changed.ring(outgoingEvents)
	return stationserver.PutResult200JSONResponse(unitStateOf(u)), nil
}

// checkSubject compares a request's subject with the order: the company as O or
// CN, its code where there is an organizationIdentifier, and no e-mail address
// but the handler's. The product's profile, at the station, decides the rest.
func checkSubject(request *csr.ParsedRequest, order api.Order) error {
	const organizationIdentifier = "organizationIdentifier"
	named := false
	for _, a := range request.Subject {
		switch a.Type.String() {
		case "O", "CN":
			named = named || a.Value == order.Company.Name
		case organizationIdentifier:
			// ETSI EN 319 412-1, 5.1.4: NTR, country, hyphen, the number in the national register.
			if want := "NTRCN-" + order.Company.Uscc; a.Value != want {
				return fmt.Errorf("its organizationIdentifier is not %s", want)
			}
		}
	}
	if !named {
		return fmt.Errorf("its subject has the order's company neither as O nor as CN")
	}
	for _, e := range request.Emails {
		if order.Handler.Email == nil || e != *order.Handler.Email {
			return fmt.Errorf("it asks for an e-mail address that is not the order's handler's")
		}
	}
	return nil
}

// checkSealed sees that what should be sealed is at least CMS EnvelopedData, so
// that a PIN in clear is never stored by mistake.
func checkSealed(pointer string, der []byte) []api.FieldError {
	var info struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	// id-envelopedData, RFC 5652, 6.1.
	envelopedData := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}
	rest, err := asn1.Unmarshal(der, &info)
	if err == nil && len(rest) == 0 && info.Type.Equal(envelopedData) {
		return nil
	}
	return []api.FieldError{{Pointer: pointer, Detail: "is not CMS EnvelopedData in DER (RFC 5652, 6)"}}
}

// checkRecipients sees that everybody to whom something is sealed is one of those
// configured, because nobody else's key is at hand. Without any configured, all pass.
func checkRecipients(pointer string, got, known []string) []api.FieldError {
	var out []api.FieldError
	if len(known) == 0 {
		return nil
	}
	for i, r := range got {
		if !slices.Contains(known, r) {
			out = append(out, api.FieldError{Pointer: fmt.Sprintf("%s/%d", pointer, i), Detail: "is not one of this server's recipients"})
		}
	}
	return out
}

func orderOf(row store.Order) (api.Order, error) {
	var o api.Order
	if err := json.Unmarshal(row.Content, &o); err != nil {
		return api.Order{}, fmt.Errorf("read order %s: %w", row.ID, err)
	}
	return o, nil
}
