package conformance

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
)

func resultChecks() []check {
	return []check{
		{"certificate", "The certificate is for the bound key; asked for again, it is the same one.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.bound(); err != nil {
				return err
			}
			if err := t.collect(s.ctx); err != nil {
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
			if err := again.collect(s.ctx); err != nil {
				return err
			}
			if !bytes.Equal(again.cert.Pkcs7, t.cert.Pkcs7) || again.cert.CertificateSha256 != t.cert.CertificateSha256 {
				return fmt.Errorf("asked for again, it is certificate %s, first it was %s", again.cert.CertificateSerial, t.cert.CertificateSerial)
			}
			return nil
		}},
		{"certificate-early", "Nobody gets a certificate of a unit that is not bound.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			a, err := s.a().send(s.ctx, "GET", t.path("certificate?wait=0"), nil)
			if err != nil {
				return err
			}
			return a.refused(api.ProblemUnitState, api.ProblemNotFound)
		}},
		{"result", "A result that matches makes the unit INSTALLED; the same again changes nothing; another one is result-conflict.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.installed(); err != nil {
				return err
			}
			if err := s.stays(t.lease.UnitId, api.INSTALLED); err != nil {
				return err
			}
			a, err := t.putResult(t.resultRequest(api.Installed))
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return err
			}
			if a, err = t.putResult(t.resultRequest(api.Faulty)); err != nil {
				return err
			}
			if err := a.refused(api.ProblemResultConflict, api.ProblemUnitState); err != nil {
				return err
			}
			return s.stays(t.lease.UnitId, api.INSTALLED)
		}},
		{"result-that-does-not-match", "A result with another token, certificate or escrow than the unit's changes nothing.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
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
				a, err := t.putResult(r)
				if err == nil {
					err = a.refused(api.ProblemInvalidContent, api.ProblemResultConflict)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return s.stays(t.lease.UnitId, api.ISSUED)
		}},
		{"result-of-another", "Another station reports nothing about a unit that it did not bind.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
			other := *t
			other.by = s.b()
			a, err := other.putResult(t.resultRequest(api.Installed))
			if err != nil {
				return err
			}
			if err := a.refused(api.ProblemForbidden, api.ProblemStaleEpoch); err != nil {
				return err
			}
			return s.stays(t.lease.UnitId, api.ISSUED)
		}},
		{"result-faulty", "A bound unit whose token failed is HELD, and never READY by itself.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := t.issued(); err != nil {
				return err
			}
			a, err := t.putResult(t.resultRequest(api.Faulty))
			if err == nil {
				err = a.is(nil, 200)
			}
			if err != nil {
				return err
			}
			return s.stays(t.lease.UnitId, api.HELD)
		}},
	}
}
