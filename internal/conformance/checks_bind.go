package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
)

func escrowChecks() []check {
	return []check{
		{"escrow-again", "The same escrow again changes nothing; another SO PIN under its id is escrow-conflict, and the first one stays.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			first, err := t.putEscrow()
			if err != nil {
				return err
			}
			var kept api.Escrow
			if err := first.is(&kept, 200); err != nil {
				return err
			}
			again, err := t.putEscrow()
			if err != nil {
				return err
			}
			if err := same(first, again); err != nil {
				return err
			}
			other := *t
			if other.soPIN, err = envelope.Seal(s.so, []byte("another sample SO PIN")); err != nil {
				return before(err)
			}
			if err := refused(api.ProblemEscrowConflict)(other.putEscrow()); err != nil {
				return err
			}
			again, err = t.putEscrow()
			if err != nil {
				return err
			}
			return same(first, again)
		}},
		{"escrow-in-clear", "What is not CMS EnvelopedData is not taken into escrow.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			t.soPIN = []byte("123456")
			return refused(api.ProblemInvalidContent)(t.putEscrow())
		}},
		{"escrow-token", "An escrow is named one token, once.", at((*token).escrowed, func(t *token) error {
			if err := ok(t.nameEscrow()); err != nil {
				return err
			}
			t.serial += "X"
			return refused(api.ProblemEscrowConflict)(t.nameEscrow())
		})},
	}
}

// refusals sends requests that must all be refused, and wants the unit still LEASED.
func (t *token) refusals(rows map[string]func(*api.CsrRequest), want ...api.ProblemType) error {
	for name, change := range rows {
		r := t.csrRequest()
		change(&r)
		if err := refused(want...)(t.putCSR(r)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := t.stays(t.lease.UnitId, api.LEASED); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func bindChecks() []check {
	return []check{
		{"bind-escrow-first", "A request whose SO PIN is not in escrow for that token is not bound.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			if err := refused(api.ProblemEscrowConflict, api.ProblemInvalidContent, api.ProblemNotFound)(t.putCSR(t.csrRequest())); err != nil {
				return err
			}
			return s.stays(t.lease.UnitId, api.LEASED)
		}},
		{"bind-invalid", "A request with a bad signature, trailing bytes, or another subject than was ordered is csr-invalid, and nothing is bound.", at((*token).escrowed, func(t *token) error {
			cn, err := csr.ParseAttributeType("CN")
			if err != nil {
				return before(err)
			}
			foreign, err := csr.Build(t.key, csr.Request{Subject: []csr.Attribute{{Type: cn, Value: "another company"}}})
			if err != nil {
				return before(err)
			}
			return t.refusals(map[string]func(*api.CsrRequest){
				"bad signature": func(r *api.CsrRequest) {
					r.Csr = append([]byte(nil), r.Csr...)
					r.Csr[len(r.Csr)-1] ^= 1
				},
				"trailing bytes":  func(r *api.CsrRequest) { r.Csr = append(append([]byte(nil), r.Csr...), 0) },
				"cut off":         func(r *api.CsrRequest) { r.Csr = r.Csr[:len(r.Csr)/2] },
				"another subject": func(r *api.CsrRequest) { r.Csr = foreign },
			}, api.ProblemCsrInvalid, api.ProblemInvalidContent)
		})},
		{"bind-key-type", "A key of a curve or kind that nobody ordered is csr-invalid.", at((*token).escrowed, func(t *token) error {
			good, err := x509.ParseCertificateRequest(t.csr)
			if err != nil {
				return before(err)
			}
			key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
			if err != nil {
				return before(err)
			}
			der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: good.RawSubject, EmailAddresses: good.EmailAddresses}, key)
			if err != nil {
				return before(err)
			}
			return t.refusals(map[string]func(*api.CsrRequest){"P-224": func(r *api.CsrRequest) { r.Csr = der }}, api.ProblemCsrInvalid, api.ProblemInvalidContent)
		})},
		{"bind-epoch", "A request under another epoch is stale-epoch, for another unit not-found, for another generation unit-state.", at((*token).escrowed, func(t *token) error {
			if err := t.refusals(map[string]func(*api.CsrRequest){
				"older epoch": func(r *api.CsrRequest) { r.Epoch-- },
				"later epoch": func(r *api.CsrRequest) { r.Epoch++ },
			}, api.ProblemStaleEpoch, api.ProblemInvalidContent); err != nil {
				return err
			}
			other := *t
			other.generation++
			if err := refused(api.ProblemUnitState, api.ProblemNotFound)(other.putCSR(t.csrRequest())); err != nil {
				return err
			}
			other = *t
			other.lease.UnitId = "NO-SUCH-UNIT-001"
			if err := refused(api.ProblemNotFound)(other.putCSR(t.csrRequest())); err != nil {
				return err
			}
			return t.stays(t.lease.UnitId, api.LEASED)
		})},
		{"bind-again", "The same request again is answered alike; another request for a bound generation is csr-conflict, and the first one's certificate comes.", at((*token).bound, func(t *token) error {
			a, err := t.putCSR(t.csrRequest())
			if err == nil {
				err = a.is(nil, 200, 202)
			}
			if err != nil {
				return err
			}
			key, err := t.NewKey()
			if err != nil {
				return before(err)
			}
			r := t.csrRequest()
			if r.Csr, err = t.request(key, t.lease); err != nil {
				return before(err)
			}
			if err := refused(api.ProblemCsrConflict)(t.putCSR(r)); err != nil {
				return err
			}
			if err := t.collect(t.ctx); err != nil {
				return err
			}
			_, err = t.leaf()
			return err
		})},
		{"bind-key-reused", "A key that is bound anywhere is never bound again: key-reused.", func(s *scene) error {
			order, err := s.order(2)
			if err != nil {
				return err
			}
			leases, err := s.lease(s.a(), order, 2)
			if err != nil {
				return err
			}
			first, err := s.tokenOf(s.a(), leases[0])
			if err != nil {
				return err
			}
			second, err := s.tokenOf(s.a(), leases[1])
			if err != nil {
				return err
			}
			if err := errors.Join(first.bound(), second.escrowed()); err != nil {
				return before(err)
			}
			r := second.csrRequest()
			if r.Csr, err = s.request(first.key, second.lease); err != nil {
				return before(err)
			}
			if err := refused(api.ProblemKeyReused)(second.putCSR(r)); err != nil {
				return err
			}
			return s.stays(second.lease.UnitId, api.LEASED)
		}},
		{"bind-then-release", "A bound unit cannot be released: its key is on a token.", at((*token).bound, func(t *token) error {
			if err := refused(api.ProblemUnitState)(t.a().release(t.ctx, t.lease.UnitId, t.epoch)); err != nil {
				return err
			}
			return t.stays(t.lease.UnitId, api.BOUND, api.ISSUING, api.ISSUEUNKNOWN, api.ISSUED)
		})},
	}
}
