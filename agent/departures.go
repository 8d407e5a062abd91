package agent

import (
	"context"
	"fmt"
	"net/http"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/provision"
)

// askedAtOnce is how many finished tokens one question names; the contract allows 256.
const askedAtOnce = 256

// departures destroys the PINs of tokens that have left, until ctx ends: soon after the server
// has answered what lets them go, and now and then, since others may ship. Nothing waits
// for it: what cannot be asked now is asked again.
func (a *Agent) departures(ctx context.Context) {
	failures := 0
	unshredded := true // a crash may have come between
	for ctx.Err() == nil {
		n, err := a.destroyDeparted(ctx)
		unshredded = unshredded || n > 0
		if err == nil && unshredded {
			err = a.Runner.Journal.Shred(ctx)
			unshredded = err != nil
		}
		if err != nil && ctx.Err() == nil {
			a.log.Warn("PINs of tokens that have left may still be here", "error", err)
			a.sleep(ctx, a.backoff(failures), nil)
			failures++
			continue
		}
		failures = 0
		a.sleep(ctx, a.DepartureInterval, a.left)
	}
}

// destroyDeparted asks once about every finished token whose PINs are still here, and says
// of how many they were destroyed.
func (a *Agent) destroyDeparted(ctx context.Context) (n int, err error) {
	after := ""
	for ctx.Err() == nil {
		kept, err := a.Runner.Journal.KeptPINs(after, askedAtOnce)
		if err != nil || len(kept) == 0 {
			return n, err
		}
		gone, err := a.Central.departed(ctx, kept)
		if err != nil {
			return n, err
		}
		for _, k := range gone {
			if err := a.Runner.Journal.DestroyPINs(k.JobID, "the parcel has left"); err != nil {
				return n, err
			}
			n++
			a.log.Info("the parcel has left: this station's copies of its PINs are destroyed", "job", k.JobID, "unit", k.UnitID, "token", string(k.TokenSerial))
		}
		after = kept[len(kept)-1].JobID
	}
	return n, nil
}

// departed says which of the finished tokens have left. A unit that was not asked about
// is an error: PINs are destroyed upon this answer.
func (c *Central) departed(ctx context.Context, kept []provision.Kept) ([]provision.Kept, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	req := api.ShippedRequest{Units: make([]api.FinishedUnit, len(kept))}
	asked := map[api.FinishedUnit]provision.Kept{}
	for i, k := range kept {
		req.Units[i] = api.FinishedUnit{UnitId: k.UnitID, Generation: int32(k.Generation), TokenSerial: string(k.TokenSerial)}
		asked[req.Units[i]] = k
	}
	var gone []provision.Kept
	resp, err := c.api.PostShipped(ctx, req)
	_, err = c.call(resp, err, func(_ int, body []byte) error {
		var in api.ShippedAnswer
		if err := unmarshal(body, &in); err != nil {
			return err
		}
		for _, u := range in.Units {
			k, ok := asked[u]
			if !ok {
				return fmt.Errorf("it names unit %s with token %s, which was not asked about", u.UnitId, u.TokenSerial)
			}
			gone = append(gone, k)
		}
		return nil
	}, http.StatusOK)
	if err != nil {
		return nil, wrap("finished tokens that have left", err)
	}
	return gone, nil
}
