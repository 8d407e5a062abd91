package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// mostEpochs is how often an adoption is signed again because the unit's epoch is
// another than was thought.
const mostEpochs = 3

// takeBack has the central server give back a unit whose lease was lost and whose bound
// key is on the token here, with a proof made by that key. Without an error the job
// goes on under its lease, which may say that the unit was cancelled.
func (a *Agent) takeBack(ctx context.Context, j *job, module pkcs11.Module) error {
	waits := func(class provision.Class, waiting provision.Waiting, hint string, err error) error {
		return &provision.StepError{Step: j.rec.Step, Class: class, Waiting: waiting, Hint: hint, Err: err}
	}
	epoch := j.lease.Epoch()
	for range mostEpochs {
		a.mu.Lock()
		session := a.session.SessionId
		a.mu.Unlock()
		claim := api.Adoption{
			Station: a.Central.station, SessionID: session, UnitID: j.rec.Job.UnitID(), Generation: int32(j.rec.Job.Generation),
			Epoch: epoch, TokenSerial: string(j.rec.Token.Identity.Serial), PublicKey: j.rec.Facts.PublicKey,
		}
		signature, hash, err := a.runner.Possession(ctx, j.rec, module, claim.Statement())
		if err != nil {
			return err
		}
		asked := a.clock()
		lease, err := a.Central.adopt(ctx, claim, hash, signature)
		var p *api.Problem
		switch {
		case err == nil:
			a.witness(audit.Entry{
				Kind: audit.KindRecovery, Unit: claim.UnitID, Generation: int(claim.Generation), Epoch: lease.Epoch, Job: j.rec.Job.ID, Code: "taken-back",
			})
			j.lease.renewTo(lease.Epoch, asked, lease.LeaseSeconds)
			a.log.Info("unit taken back", "job", j.rec.Job.ID, "unit", claim.UnitID, "epoch", lease.Epoch)
			return nil
		case errors.Is(err, provision.ErrLeaseLost) && errors.As(err, &p) && p.CurrentEpoch != nil && *p.CurrentEpoch != epoch:
			epoch = *p.CurrentEpoch
		case errors.Is(err, provision.ErrCancelled):
			j.lease.end(j.lease.Epoch(), provision.ErrCancelled)
			return nil
		case isProblem(err, api.ProblemSessionUnknown):
			if err := a.openSession(ctx); err != nil {
				return waits(provision.ClassRetry, provision.WaitingNetwork, hintByItself, err)
			}
		case errors.Is(err, provision.ErrRefused):
			return fmt.Errorf("%w: %w", errNotTakenBack, err)
		case errors.Is(err, provision.ErrLeaseLost):
			return waits(provision.ClassOperator, provision.WaitingLease, hintAsked, err)
		default:
			return waits(provision.ClassRetry, provision.WaitingNetwork, hintByItself, err)
		}
	}
	return waits(provision.ClassRetry, provision.WaitingNetwork, hintByItself, errors.New("the unit's epoch changes all the time"))
}

// errNotTakenBack says that the central server has decided otherwise about a unit.
const errNotTakenBack = provision.Sentinel("the unit is not given back to this station")

// adopt asks for a unit with a proof of its bound key. The answer must give this unit, under a later epoch.
func (c *Central) adopt(ctx context.Context, a api.Adoption, hash crypto.Hash, signature []byte) (api.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	var answer api.AdoptAnswer
	resp, err := c.api.PostAdopt(ctx, a.UnitID, api.AdoptRequest{
		SessionId: a.SessionID, Generation: a.Generation, Epoch: a.Epoch, TokenSerial: a.TokenSerial,
		PublicKey: a.PublicKey, Hash: api.AdoptRequestHash(hash.String()), Signature: signature,
	})
	_, err = c.call(resp, err, func(_ int, body []byte) error {
		if err := unmarshal(body, &answer); err != nil {
			return err
		}
		if l := answer.Lease; l.UnitId != a.UnitID || l.Generation != a.Generation || l.Epoch <= a.Epoch || l.LeaseSeconds < 1 {
			return fmt.Errorf("it gives unit %q, generation %d, under epoch %d for %d s", l.UnitId, l.Generation, l.Epoch, l.LeaseSeconds)
		}
		return nil
	}, http.StatusOK)
	return answer.Lease, wrap("adoption of unit "+a.UnitID, err)
}
