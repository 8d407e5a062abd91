package adminclient

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

// JoinToken is the file, beside CentralRoot and CertificateTrust, with which a station enrols.
const JoinToken = "join.token"

// Invitation is how a station is invited.
type Invitation struct {
	// Valid is how long the join token is good, in whole seconds.
	Valid time.Duration
	// EKSHA256 names the one TPM that may enrol; "" for any.
	EKSHA256 string
	// Replace takes the key of a known station away.
	Replace bool
}

// InviteStation asks for a join token, and writes it and what a station has to trust
// into dir. It overwrites nothing.
func (c *Client) InviteStation(ctx context.Context, name, dir string, i Invitation) (api.Invitation, error) {
	for _, f := range []string{JoinToken, CentralRoot, CertificateTrust} {
		if _, err := os.Lstat(filepath.Join(dir, f)); err == nil {
			return api.Invitation{}, fmt.Errorf("%s exists already and is not overwritten: use another directory", filepath.Join(dir, f))
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return api.Invitation{}, fmt.Errorf("make the directory: %w", err)
	}
	req := api.InvitationRequest{ValidSeconds: int(i.Valid / time.Second), Replace: &i.Replace}
	if i.EKSHA256 != "" {
		req.EndorsementKeySha256 = &i.EKSHA256
	}
	var out api.Invitation
	resp, err := c.raw.PostInvitation(ctx, name, req)
	if _, err := c.answer(resp, err, &out); err != nil {
		return api.Invitation{}, err
	}
	var trust bytes.Buffer
	for _, der := range out.CertificateTrust {
		trust.Write(keyfile.CertificatePEM(der))
	}
	for _, f := range []keyfile.File{
		{Name: CentralRoot, Content: keyfile.CertificatePEM(out.ServerTrust)},
		{Name: CertificateTrust, Content: trust.Bytes()},
		{Name: JoinToken, Content: []byte(out.JoinToken + "\n"), Secret: true},
	} {
		if err := keyfile.WriteNew(filepath.Join(dir, f.Name), f); err != nil {
			return api.Invitation{}, err
		}
	}
	return out, nil
}

// Enrollments lists invitations that are open and stations that wait for approval.
func (c *Client) Enrollments(ctx context.Context) ([]api.Enrollment, error) {
	var out api.EnrollmentList
	resp, err := c.raw.ListEnrollments(ctx)
	_, err = c.answer(resp, err, &out)
	return out.Enrollments, err
}

// ApproveStation approves the TPM of a station that waits, by its endorsement key.
func (c *Client) ApproveStation(ctx context.Context, name, ekSHA256, operator string) (api.Enrollment, error) {
	var out api.Enrollment
	resp, err := c.raw.PostApproval(ctx, name, api.ApprovalRequest{EndorsementKeySha256: ekSHA256, Operator: operator})
	_, err = c.answer(resp, err, &out)
	return out, err
}
