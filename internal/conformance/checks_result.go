package conformance

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
)

func resultChecks() []check {
	return []check{
		{"certificate", "The certificate is for the bound key; asked for again, it is the same one.", at((*token).bound, func(t *token) error {
			if err := t.collect(t.ctx); err != nil {
				return err
			}
			leaf, err := t.leaf()
			if err != nil {
				return err
			}
			if got := fmt.Sprintf("%x", leaf.SerialNumber.Bytes()); !strings.EqualFold(got, t.cert.CertificateSerial) {
				return fmt.Errorf("certificateSerial is %s, the certificate's is %s", t.cert.CertificateSerial, got)
			}
			again := *t
			if err := again.collect(t.ctx); err != nil {
				return err
			}
			if !bytes.Equal(again.cert.Pkcs7, t.cert.Pkcs7) || again.cert.CertificateSha256 != t.cert.CertificateSha256 {
				return fmt.Errorf("asked for again, it is certificate %s, first it was %s", again.cert.CertificateSerial, t.cert.CertificateSerial)
			}
			return nil
		})},
		{"certificate-early", "Nobody gets a certificate of a unit that is not bound.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			return refused(api.ProblemUnitState, api.ProblemNotFound)(s.a().send(s.ctx, "GET", t.path("certificate?wait=0"), nil))
		}},
		{"result", "A result that matches makes the unit INSTALLED; the same again changes nothing; another one is result-conflict.", at((*token).installed, func(t *token) error {
			if err := t.stays(t.lease.UnitId, api.INSTALLED); err != nil {
				return err
			}
			if err := ok(t.putResult(t.resultRequest(api.Installed))); err != nil {
				return err
			}
			if err := refused(api.ProblemResultConflict, api.ProblemUnitState)(t.putResult(t.resultRequest(api.Faulty))); err != nil {
				return err
			}
			return t.stays(t.lease.UnitId, api.INSTALLED)
		})},
		{"result-that-does-not-match", "A result with another token, certificate or escrow than the unit's changes nothing.", at((*token).issued, func(t *token) error {
			other := strings.Repeat("ab", 32)
			for name, change := range map[string]func(*api.ResultRequest){
				"token":       func(r *api.ResultRequest) { r.TokenSerial += "X" },
				"certificate": func(r *api.ResultRequest) { r.CertificateSha256 = &other },
				"no PIN":      func(r *api.ResultRequest) { r.SealedUserPin = nil },
				"PIN in clear": func(r *api.ResultRequest) {
					pin := []byte("123456")
					r.SealedUserPin = &pin
				},
			} {
				r := t.resultRequest(api.Installed)
				change(&r)
				if err := refused(api.ProblemInvalidContent, api.ProblemResultConflict)(t.putResult(r)); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return t.stays(t.lease.UnitId, api.ISSUED)
		})},
		{"result-of-another", "Another station reports nothing about a unit that it did not bind.", at((*token).issued, func(t *token) error {
			other := *t
			other.by = t.b()
			if err := refused(api.ProblemForbidden, api.ProblemStaleEpoch)(other.putResult(t.resultRequest(api.Installed))); err != nil {
				return err
			}
			return t.stays(t.lease.UnitId, api.ISSUED)
		})},
		{"result-faulty", "A bound unit whose token failed is HELD, and never READY by itself.", at((*token).issued, func(t *token) error {
			if err := ok(t.putResult(t.resultRequest(api.Faulty))); err != nil {
				return err
			}
			return t.stays(t.lease.UnitId, api.HELD)
		})},
	}
}
