package conformance

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/usbkeyd/usbkeyd/api"
)

// nameOf is a station's name, the Common Name in its certificate.
func nameOf(c tls.Certificate) (string, error) {
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return "", before(err)
	}
	return leaf.Subject.CommonName, nil
}

func adoptChecks() []check {
	return []check{
		{"adopt", "The station that proves to have a bound key gets the unit under a later epoch; the old epoch is lost, and the result comes under the new one.", at((*token).issued, func(t *token) error {
			name, err := nameOf(t.Stations[1])
			if err != nil {
				return err
			}
			a, err := t.adopts(t.b(), name, t.epoch, t.key)
			if err != nil {
				return err
			}
			var got api.AdoptAnswer
			if err := a.is(&got, 200); err != nil {
				return err
			}
			if got.Lease.Epoch <= t.epoch {
				return fmt.Errorf("the epoch is %d, before it was %d", got.Lease.Epoch, t.epoch)
			}
			if err := ok(t.adopts(t.b(), name, t.epoch, t.key)); err != nil {
				return fmt.Errorf("the same again: %w", err)
			}
			if err := t.a().hears(t.ctx, t.lease.UnitId, t.epoch, api.Lost); err != nil {
				return err
			}
			t.by, t.epoch = t.b(), got.Lease.Epoch
			if err := ok(t.putResult(t.resultRequest(api.Installed))); err != nil {
				return err
			}
			return t.stays(t.lease.UnitId, api.INSTALLED)
		})},
		{"adopt-proof", "Without the bound key, for another station's name, or under another epoch, no unit is given out.", at((*token).issued, func(t *token) error {
			other, err := t.NewKey()
			if err != nil {
				return before(err)
			}
			mine, err := nameOf(t.Stations[1])
			if err != nil {
				return err
			}
			theirs, err := nameOf(t.Stations[0])
			if err != nil {
				return err
			}
			if err := refused(api.ProblemProofInvalid)(t.adopts(t.b(), mine, t.epoch, other)); err != nil {
				return fmt.Errorf("another key: %w", err)
			}
			if err := refused(api.ProblemProofInvalid)(t.adopts(t.b(), theirs, t.epoch, t.key)); err != nil {
				return fmt.Errorf("another station's name: %w", err)
			}
			if err := refused(api.ProblemStaleEpoch)(t.adopts(t.b(), mine, t.epoch+1, t.key)); err != nil {
				return fmt.Errorf("another epoch: %w", err)
			}
			return t.a().hears(t.ctx, t.lease.UnitId, t.epoch, api.Ok)
		})},
	}
}
