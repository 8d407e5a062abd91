package central

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// PostInvitation implements the operation.
func (s *adminAPI) PostInvitation(ctx context.Context, r adminserver.PostInvitationRequestObject) (adminserver.PostInvitationResponseObject, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	token := base64.RawURLEncoding.EncodeToString(secret)
	e, err := s.store.InviteStation(ctx, store.Invitation{
		Station: r.Name, TokenSHA256: hexSHA256([]byte(token)), PinnedEK: text(r.Body.EndorsementKeySha256),
		Replaces: r.Body.Replace != nil && *r.Body.Replace, Valid: time.Duration(r.Body.ValidSeconds) * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return adminserver.PostInvitation200JSONResponse{
		EnrollmentId: e.ID, Station: e.Station, JoinToken: token, ExpiresAt: e.ExpiresAt,
		ServerTrust: s.stationRoot.Certificate().Raw, CertificateTrust: rawCertificates(s.ca.Roots()),
	}, nil
}

// ListEnrollments implements the operation.
func (s *adminAPI) ListEnrollments(ctx context.Context, _ adminserver.ListEnrollmentsRequestObject) (adminserver.ListEnrollmentsResponseObject, error) {
	rows, err := s.store.Enrollments(ctx)
	if err != nil {
		return nil, err
	}
	out := adminserver.ListEnrollments200JSONResponse{Enrollments: make([]api.Enrollment, len(rows))}
	for i, e := range rows {
		out.Enrollments[i] = enrollmentOfRow(e)
	}
	return out, nil
}

// PostApproval implements the operation.
func (s *adminAPI) PostApproval(ctx context.Context, r adminserver.PostApprovalRequestObject) (adminserver.PostApprovalResponseObject, error) {
	e, err := s.store.ApproveEnrollment(ctx, r.Name, r.Body.EndorsementKeySha256, r.Body.Operator)
	if err != nil {
		return nil, err
	}
	return adminserver.PostApproval200JSONResponse(enrollmentOfRow(e)), nil
}

func enrollmentOfRow(e store.Enrollment) api.Enrollment {
	out := api.Enrollment{
		EnrollmentId: e.ID, Station: e.Station, State: api.EnrollmentState(e.State), Replaces: e.Replaces,
		CreatedAt: e.CreatedAt, ExpiresAt: e.ExpiresAt, ApprovedBy: optional(e.ApprovedBy),
	}
	shown := e.EKSHA256
	if shown == "" {
		shown = e.PinnedEK
	}
	out.EndorsementKeySha256 = optional(shown)
	if e.Trust != "" {
		trust := api.EnrollmentTrust(e.Trust)
		out.Trust = &trust
	}
	return out
}
