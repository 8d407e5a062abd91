package central

import (
	"context"
	"crypto/x509"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// PostResolve implements the operation.
func (s *adminAPI) PostResolve(ctx context.Context, r adminserver.PostResolveRequestObject) (adminserver.PostResolveResponseObject, error) {
	d := store.Decision{
		UnitID: r.UnitId, Generation: r.Body.Generation, Action: store.Action(r.Body.Finding),
		RequestedBy: r.Body.Operator, Reason: r.Body.Reason,
	}
	pkcs7, digest := r.Body.Pkcs7 != nil, r.Body.CertificateSha256 != nil
	switch r.Body.Finding {
	case api.FindingCertificate:
		if !pkcs7 || digest {
			return nil, problem(api.ProblemInvalidContent, "", api.FieldError{Pointer: "/pkcs7", Detail: "is what this finding needs, and nothing else"})
		}
		certificate, err := s.foundCertificate(ctx, r.UnitId, r.Body.Generation, *r.Body.Pkcs7)
		if err != nil {
			return nil, err
		}
		d.Certificate = certificate
	case api.FindingRevoked, api.FindingSurplus:
		if pkcs7 || !digest {
			return nil, problem(api.ProblemInvalidContent, "", api.FieldError{Pointer: "/certificateSha256", Detail: "is what this finding needs, and nothing else"})
		}
		d.Certificate.SHA256 = *r.Body.CertificateSha256
	default:
		if pkcs7 || digest {
			return nil, problem(api.ProblemInvalidContent, "", api.FieldError{Pointer: "/finding", Detail: "absent names no certificate"})
		}
	}
	answer, err := s.decisionAnswer(s.store.RequestDecision(ctx, d))
	return adminserver.PostResolve202JSONResponse(answer), err
}

// foundCertificate reads the answer that a person got from the CA. The unit's own
// certificate is that for the bound key; one for another key is none.
func (s *Server) foundCertificate(ctx context.Context, unitID string, generation int32, pkcs7 []byte) (store.Certificate, error) {
	wrong := func(detail string) (store.Certificate, error) {
		return store.Certificate{}, problem(api.ProblemInvalidContent, "", api.FieldError{Pointer: "/pkcs7", Detail: detail})
	}
	certs, err := csr.ParseBundle(pkcs7)
	if err != nil {
		return wrong(err.Error())
	}
	bound, err := s.store.BoundKey(ctx, unitID, generation)
	if err != nil {
		return store.Certificate{}, err
	}
	for _, cert := range certs {
		if key := hexSHA256(cert.RawSubjectPublicKeyInfo); key == bound {
			if err := s.underRoots(cert, certs); err != nil {
				return wrong("its certificate is not this CA's: " + err.Error())
			}
			c := certificateIn(pkcs7, cert)
			c.PublicKeySHA256 = key
			return c, nil
		}
	}
	return wrong("holds no certificate for the key that is bound")
}

// underRoots verifies at the time of issue: a certificate that was found late is no
// less the CA's.
func (s *Server) underRoots(cert *x509.Certificate, certs []*x509.Certificate) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range s.ca.Roots() {
		roots.AddCert(c)
	}
	for _, c := range certs {
		between.AddCert(c)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: cert.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// certificateIn is what is kept of a certificate.
func certificateIn(pkcs7 []byte, leaf *x509.Certificate) store.Certificate {
	return store.Certificate{
		PKCS7: pkcs7, Serial: ca.SerialText(leaf.SerialNumber), SHA256: ca.Digest(leaf),
		Subject: ca.NameText(leaf.Subject), NotAfter: leaf.NotAfter,
	}
}

// PostReissue implements the operation.
func (s *adminAPI) PostReissue(ctx context.Context, r adminserver.PostReissueRequestObject) (adminserver.PostReissueResponseObject, error) {
	answer, err := s.decisionAnswer(s.store.RequestDecision(ctx, store.Decision{
		UnitID: r.UnitId, Generation: r.Body.Generation, Action: store.ActionReissue, RequestedBy: r.Body.Operator, Reason: r.Body.Reason,
	}))
	return adminserver.PostReissue202JSONResponse(answer), err
}

// PostReturn implements the operation.
func (s *adminAPI) PostReturn(ctx context.Context, r adminserver.PostReturnRequestObject) (adminserver.PostReturnResponseObject, error) {
	u, err := s.store.Return(ctx, r.UnitId, r.Body.Operator, r.Body.Reason)
	if err != nil {
		return nil, err
	}
	s.changed.ringAll()
	return adminserver.PostReturn200JSONResponse(unitStateOf(u)), nil
}

// ListDecisions implements the operation.
func (s *adminAPI) ListDecisions(ctx context.Context, _ adminserver.ListDecisionsRequestObject) (adminserver.ListDecisionsResponseObject, error) {
	rows, err := s.store.Decisions(ctx, "")
	if err != nil {
		return nil, err
	}
	return adminserver.ListDecisions200JSONResponse{Decisions: decisionsOf(rows)}, nil
}

// PostDecision implements the operation.
func (s *adminAPI) PostDecision(ctx context.Context, r adminserver.PostDecisionRequestObject) (adminserver.PostDecisionResponseObject, error) {
	answer, err := s.decisionAnswer(s.store.ApproveDecision(ctx, r.DecisionId, r.Body.Operator))
	if err != nil {
		return nil, err
	}
	s.ready.ringAll()
	s.changed.ringAll()
	s.revoker.kick()
	return adminserver.PostDecision200JSONResponse(answer), nil
}

func (s *Server) decisionAnswer(d store.Decision, u store.Unit, err error) (api.DecisionAnswer, error) {
	if err != nil {
		return api.DecisionAnswer{}, err
	}
	return api.DecisionAnswer{Decision: decisionOf(d), Unit: unitStateOf(u)}, nil
}

func decisionsOf(rows []store.Decision) []api.Decision {
	out := make([]api.Decision, len(rows))
	for i, d := range rows {
		out[i] = decisionOf(d)
	}
	return out
}

func decisionOf(d store.Decision) api.Decision {
	return api.Decision{
		DecisionId: d.ID, UnitId: d.UnitID, Generation: d.Generation, Action: api.DecisionAction(d.Action),
		CertificateSha256: optional(d.Certificate.SHA256), Reason: d.Reason, Status: api.DecisionStatus(d.Status),
		RequestedBy: d.RequestedBy, RequestedAt: d.RequestedAt, ApprovedBy: optional(d.ApprovedBy), ApprovedAt: optionalTime(d.ApprovedAt),
	}
}

// GetUnitHistory implements the operation.
func (s *adminAPI) GetUnitHistory(ctx context.Context, r adminserver.GetUnitHistoryRequestObject) (adminserver.GetUnitHistoryResponseObject, error) {
	if _, err := s.store.Unit(ctx, r.UnitId); err != nil {
		return nil, err
	}
	entries, err := s.store.History(ctx, r.UnitId)
	if err != nil {
		return nil, err
	}
	decisions, err := s.store.Decisions(ctx, r.UnitId)
	if err != nil {
		return nil, err
	}
	out := adminserver.GetUnitHistory200JSONResponse{UnitId: r.UnitId, Entries: make([]api.HistoryEntry, len(entries)), Decisions: decisionsOf(decisions)}
	for i, e := range entries {
		out.Entries[i] = api.HistoryEntry{
			At: e.At, Event: string(e.Event), From: api.UnitStateName(e.From), To: api.UnitStateName(e.To),
			Epoch: e.Epoch, Generation: e.Generation, Station: optional(e.Station), Why: optional(e.Why),
		}
	}
	return out, nil
}
