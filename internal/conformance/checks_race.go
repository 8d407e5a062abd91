package conformance

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

func inputChecks() []check {
	return []check{
		{"input-not-json", "A body that is not JSON, has a key twice, or goes on after its end is refused.", func(s *scene) error {
			id := s.a().session.SessionId
			for name, body := range map[string]string{
				"not JSON":           `{"sessionId":`,
				"a key twice":        `{"sessionId":"` + id + `","sessionId":"` + id + `","units":[]}`,
				"more after the end": `{"sessionId":"` + id + `","units":[]} {}`,
				"another type":       `{"sessionId":7,"units":[]}`,
				"an unknown field":   `{"sessionId":"` + id + `","units":[],"surprise":1}`,
			} {
				if err := refused(api.ProblemBadRequest, api.ProblemInvalidContent)(s.a().send(s.ctx, "POST", "/heartbeat", []byte(body))); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		}},
		{"input-content-type", "A body of another type than application/json is unsupported-media-type.", func(s *scene) error {
			return refused(api.ProblemUnsupportedMediaType)(s.a().send(s.ctx, "POST", "/heartbeat", []byte("<x/>"), "Content-Type", "text/xml"))
		}},
		{"input-large", "A body of 10 MB is content-too-large, and the server goes on.", func(s *scene) error {
			a, err := s.a().send(s.ctx, "POST", "/heartbeat", io.LimitReader(spaces{}, 10<<20))
			// A server may close the connection while so much is still on its way.
			if err == nil {
				err = a.refused(api.ProblemContentTooLarge)
			} else if s.ctx.Err() == nil {
				err = nil
			}
			if err != nil {
				return err
			}
			_, err = s.a().beat(s.ctx, "NO-SUCH-UNIT-001", 1)
			return err
		}},
		{"input-base64", "Bad base64 is refused before anything is done.", func(s *scene) error {
			t, err := s.token(s.a())
			if err != nil {
				return err
			}
			body := fmt.Sprintf(`{"unitId":%q,"epoch":%d,"sealedSoPin":"!!!","recipients":[%q]}`, t.lease.UnitId, t.epoch, strings.Repeat("a", 64))
			return refused(api.ProblemBadRequest, api.ProblemInvalidContent)(s.a().send(s.ctx, "PUT", "/escrows/"+t.escrow, []byte(body)))
		}},
		{"input-unknown-operation", "An operation that the contract does not know is not-found, another method method-not-allowed.", func(s *scene) error {
			if err := refused(api.ProblemNotFound)(s.a().send(s.ctx, "GET", "/no-such-thing", nil)); err != nil {
				return err
			}
			return refused(api.ProblemMethodNotAllowed)(s.a().send(s.ctx, "DELETE", "/session", nil))
		}},
	}
}

// spaces is an endless body.
type spaces struct{}

// Read implements io.Reader.
func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func raceChecks() []check {
	return []check{
		{"race-claims", "Sixteen claims of two stations at once get every unit once, and no order is split.", func(s *scene) error {
			const orders, each = 4, 4
			for range orders {
				if _, err := s.order(each); err != nil {
					return err
				}
			}
			var mu sync.Mutex
			got, home := map[string]string{}, map[string]string{}
			err := all(16, func(i int) error {
				by := s.stations[i%2]
				_, leases, err := by.claim(s.ctx, uuid.NewString(), 1, 2, s.Order.ProductCode)
				mu.Lock()
				defer mu.Unlock()
				for _, l := range leases {
					if was, twice := got[l.UnitId]; twice {
						return fmt.Errorf("%s is leased twice, to %s and %s", l.UnitId, was, by.instance)
					}
					got[l.UnitId] = by.instance
					if was := home[l.OrderId]; was != "" && was != by.instance {
						return fmt.Errorf("order %s is split over both stations", l.OrderId)
					}
					home[l.OrderId] = by.instance
				}
				return err
			})
			if err == nil && len(got) == 0 {
				err = before(fmt.Errorf("no claim got anything"))
			}
			return err
		}},
		{"race-same-claim", "Eight copies of one claim at once get one and the same lease.", func(s *scene) error {
			if _, err := s.order(8); err != nil {
				return err
			}
			var mu sync.Mutex
			units := map[string]bool{}
			key := uuid.NewString()
			err := all(8, func(int) error {
				_, leases, err := s.a().claim(s.ctx, key, 5, 1, s.Order.ProductCode)
				mu.Lock()
				defer mu.Unlock()
				for _, l := range leases {
					units[l.UnitId] = true
				}
				return err
			})
			if err == nil && len(units) != 1 {
				err = fmt.Errorf("they got %d different units", len(units))
			}
			return err
		}},
		{"race-bind", "Of eight requests with different keys for one unit at once, exactly one is bound, and its certificate comes.", at((*token).escrowed, func(t *token) error {
			var mu sync.Mutex
			var won []*token
			err := all(8, func(int) error {
				mine := *t
				var err error
				if mine.key, err = t.NewKey(); err == nil {
					mine.csr, err = t.request(mine.key, t.lease)
				}
				if err != nil {
					return before(err)
				}
				a, err := mine.putCSR(mine.csrRequest())
				if err != nil {
					return err
				}
				if a.is(nil, 200, 202) == nil {
					mu.Lock()
					won = append(won, &mine)
					mu.Unlock()
					return nil
				}
				return a.refused(api.ProblemCsrConflict, api.ProblemUnitState, api.ProblemUnavailable)
			})
			if err != nil {
				return err
			}
			if len(won) != 1 {
				return fmt.Errorf("%d of the eight are bound", len(won))
			}
			if err := won[0].collect(t.ctx); err != nil {
				return err
			}
			_, err = won[0].leaf()
			return err
		})},
		{"race-same-bind", "Eight copies of one request at once are all answered well, and there is one certificate.", at((*token).escrowed, func(t *token) error {
			var mu sync.Mutex
			serials := map[string]bool{}
			err := all(8, func(int) error {
				mine := *t
				err := answered(nil, 200, 202)(mine.putCSR(mine.csrRequest()))
				if err == nil {
					err = mine.collect(t.ctx)
				}
				mu.Lock()
				defer mu.Unlock()
				serials[mine.cert.CertificateSerial] = true
				return err
			})
			if err == nil && len(serials) != 1 {
				err = fmt.Errorf("there are %d certificates", len(serials))
			}
			return err
		})},
		{"race-result", "Eight copies of one result at once are all taken for one.", at((*token).issued, func(t *token) error {
			if err := all(8, func(int) error {
				return ok(t.putResult(t.resultRequest(api.Installed)))
			}); err != nil {
				return err
			}
			return t.stays(t.lease.UnitId, api.INSTALLED)
		})},
		{"race-cancel-bind", "A cancel and a request at the same time: either the request is refused and the unit CANCELLED, or it is bound and the unit on its way there. Never is it forgotten.", func(s *scene) error {
			for range 5 {
				t, err := s.token(s.a())
				if err != nil {
					return err
				}
				if err := t.escrowed(); err != nil {
					return err
				}
				var bound bool
				if err := all(2, func(i int) error {
					if i == 0 {
						return ok(s.cancel(t.lease.OrderId))
					}
					a, err := t.putCSR(t.csrRequest())
					if err != nil {
						return err
					}
					if bound = a.is(nil, 200, 202) == nil; bound {
						return nil
					}
					return a.refused(api.ProblemCancelled, api.ProblemUnitState, api.ProblemStaleEpoch)
				}); err != nil {
					return err
				}
				// A request that was bound is refused too, when it is cancelled while it waits for
				// its certificate.
				if !bound && s.stays(t.lease.UnitId, api.CANCELLED) == nil {
					continue
				}
				if err := s.stays(t.lease.UnitId, api.CANCELLING, api.CANCELLED); err != nil {
					return err
				}
				if err := t.wiped(); err != nil {
					return err
				}
			}
			return nil
		}},
	}
}
