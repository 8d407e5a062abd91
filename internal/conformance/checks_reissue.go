package conformance

import (
	"fmt"

	"github.com/usbkeyd/usbkeyd/api"
)

func reissueChecks() []check {
	return []check{
		{"reissue", "A HELD unit gets a new generation by the decision of two different persons, once its certificate is revoked; the old key is never bound again.", at((*token).issued, func(t *token) error {
			if err := ok(t.putResult(t.resultRequest(api.Faulty))); err != nil {
				return before(err)
			}
			var asked api.DecisionAnswer
			if err := answered(&asked, 202)(t.admin.send(t.ctx, "POST", "/units/"+t.lease.UnitId+"/reissue", api.ReissueRequest{
				Generation: t.generation, Operator: operator, Reason: "conformance",
			})); err != nil {
				return err
			}
			if err := t.stays(t.lease.UnitId, api.HELD); err != nil {
				return err
			}
			path := "/decisions/" + asked.Decision.DecisionId
			if err := refused(api.ProblemSamePerson)(t.admin.send(t.ctx, "POST", path, api.ApproveRequest{Operator: operator})); err != nil {
				return err
			}
			if err := ok(t.admin.send(t.ctx, "POST", path, api.ApproveRequest{Operator: "conformance-2"})); err != nil {
				return err
			}
			if err := t.becomes(t.lease.UnitId, api.READY); err != nil {
				return err
			}
			leases, err := t.scene.lease(t.a(), t.lease.OrderId, 1)
			if err != nil {
				return err
			}
			if leases[0].Generation != t.generation+1 {
				return fmt.Errorf("it is generation %d, want %d", leases[0].Generation, t.generation+1)
			}
			again, err := t.tokenOf(t.a(), leases[0])
			if err != nil {
				return err
			}
			if err := again.escrowed(); err != nil {
				return err
			}
			r := again.csrRequest()
			if r.Csr, err = t.request(t.key, again.lease); err != nil {
				return before(err)
			}
			if err := refused(api.ProblemKeyReused)(again.putCSR(r)); err != nil {
				return err
			}
			return again.finishes()
		})},
	}
}

// finishes brings a unit whose SO PIN is in escrow to its end.
func (t *token) finishes() error {
	err := answered(nil, 200, 202)(t.putCSR(t.csrRequest()))
	if err == nil {
		err = t.collect(t.ctx)
	}
	if err == nil {
		err = ok(t.putResult(t.resultRequest(api.Installed)))
	}
	if err != nil {
		return err
	}
	return t.stays(t.lease.UnitId, api.INSTALLED)
}
