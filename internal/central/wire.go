package central

import (
	"crypto/x509"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// What the store knows, turned into the contract's types.

func unitStateOf(u store.Unit) api.UnitState {
	return api.UnitState{
		UnitId: u.ID, Generation: u.Generation, Epoch: u.Epoch, State: api.UnitStateName(u.State), HeldReason: optional(u.HeldReason),
	}
}

func leasesOf(leases []store.Lease) ([]api.Lease, error) {
	out := make([]api.Lease, len(leases))
	var err error
	for i, l := range leases {
		if out[i], err = leaseOf(l); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func leaseOf(l store.Lease) (api.Lease, error) {
	o, err := orderOf(l.Order)
	if err != nil {
		return api.Lease{}, err
	}
	return api.Lease{
		UnitId: l.Unit.ID, OrderId: l.Order.ID, Sequence: l.Unit.Sequence, Of: l.Order.Numbered,
		Epoch: l.Unit.Epoch, Generation: l.Unit.Generation,
		// One second is the least that the contract can say; a lost lease of a repeated claim gets it.
		LeaseSeconds: max(seconds(l.Left), 1),
		DueAt:        &l.Order.DueAt, Urgent: &l.Order.Urgent, Kind: api.Initial, ProductCode: o.ProductCode, ValidityYears: o.ValidityYears,
		Company: o.Company, Handler: o.Handler, Shipping: o.Shipping,
	}, nil
}

func escrowOf(e store.Escrow) api.Escrow {
	return api.Escrow{EscrowId: e.ID, Sha256: e.SealedSHA256, TokenSerial: optional(e.TokenSerial)}
}

func certificateOf(b store.Binding) api.IssuedCertificate {
	return api.IssuedCertificate{Pkcs7: b.Certificate.PKCS7, CertificateSerial: b.Certificate.Serial, CertificateSha256: b.Certificate.SHA256}
}

func (s *Server) unitOf(u store.UnitRecord) api.Unit {
	if !s.issuer.asks(u.State) {
		u.PendingUntil = time.Time{} // a person asks
	}
	return api.Unit{
		UnitId: u.ID, OrderId: u.OrderID, Sequence: u.Sequence, Of: u.Of, Company: u.Company, ProductCode: u.ProductCode,
		State: api.UnitStateName(u.State), HeldReason: optional(u.HeldReason), Epoch: u.Epoch, Generation: u.Generation,
		Attempts: u.Attempts, Station: optional(u.Station), Phase: optional(u.Phase), LeaseExpiresAt: optionalTime(u.ExpiresAt),
		TokenSerial: optional(u.TokenSerial), TokenLabel: optional(u.TokenLabel), TokenModel: optional(u.TokenModel),
		KeyId: optional(u.KeyID), Subject: optional(u.Subject), CertificateSerial: optional(u.CertificateSerial),
		CertificateSha256: optional(u.CertificateSHA256), CertificateNotAfter: optionalTime(u.CertificateNotAfter),
		PendingReason: optional(u.PendingReason), PendingUntil: optionalTime(u.PendingUntil),
		Waybill: optional(u.Waybill), ShippedAt: optionalTime(u.ShippedAt), RevokedAt: optionalTime(u.RevokedAt), SurplusCertificates: surplusOf(u.Surplus),
		EscrowId: optional(u.EscrowID), Seconds: u.Seconds, UpdatedAt: u.UpdatedAt,
	}
}

func surplusOf(digests []string) *[]string {
	if len(digests) == 0 {
		return nil
	}
	return &digests
}

func (s *Server) unitsOf(records []store.UnitRecord) []api.Unit {
	out := make([]api.Unit, len(records))
	for i, u := range records {
		out[i] = s.unitOf(u)
	}
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func rawCertificates(certs []*x509.Certificate) [][]byte {
	out := make([][]byte, len(certs))
	for i, c := range certs {
		out[i] = c.Raw
	}
	return out
}

func recipientDigests(certs []*x509.Certificate) []string {
	out := make([]string, len(certs))
	for i, c := range certs {
		out[i] = hexSHA256(c.Raw)
	}
	return out
}
