package agent

import (
	"context"
	"errors"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// watch looks at one instance until ctx ends, and tells when something changed. A
// look has a process of its own, or waits for one; where it has to wait for a token
// that is busy all the same, that holds up this watcher alone.
func (a *Agent) watch(ctx context.Context, i *instanceState) {
	failures := 0
	for ctx.Err() == nil {
		wait := a.WatchInterval
		if !a.inventory.resting(i) {
			begun := time.Now()
			slots, err := look(ctx, i)
			if ctx.Err() != nil {
				return
			}
			if err != nil || a.inventory.misses(i, slots) {
				a.ask(ctx, i.Name) // is it the tokens, or the station?
			}
			if failures++; err == nil {
				failures = 0
			} else {
				wait = max(wait, a.backoff(failures-1)) // each look starts a process anew
			}
			changed := a.inventory.saw(i, begun, slots, err)
			a.sighted(ctx, i, begun, changed)
			if changed {
				if err != nil {
					a.log.Warn("module cannot be read", "module", i.Name, "error", err)
				}
				for _, u := range a.inventory.unlistedNow(i) {
					a.log.Warn("token is not written", "module", i.Name, "token", string(u.Token.Identity.Serial), "error", u.Err)
				}
				a.poke()
			}
		}
		a.sleep(ctx, wait, a.looked(i))
	}
}

// looked gives the watcher a channel on which it is asked to look at once.
func (a *Agent) looked(i *instanceState) <-chan struct{} { return a.look[i.Name] }

func look(ctx context.Context, i *instanceState) ([]pkcs11.Slot, error) {
	module, err := i.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer i.Pool.Release(module)
	slots, err := module.Slots(ctx)
	if errors.Is(err, context.Canceled) {
		return nil, ctx.Err()
	}
	return slots, err
}

// sleep waits for d, for the end of ctx or for one of wake.
func (a *Agent) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-wake:
	}
}
