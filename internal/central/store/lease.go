package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// renew prolongs what the station holds and says how long it has from now; zero
// when it does not hold it any more.
func (t *txn) renew(ctx context.Context, u *Unit, station string, epoch int64, phase string, length time.Duration) (time.Duration, error) {
	if u.held(station, epoch) != nil {
		return 0, nil
	}
	switch {
	case u.State == Leased:
	case u.State.InCustody():
		length = t.store.rules.Custody
	default:
		return 0, nil
	}
	u.ExpiresAt = fromMillis(t.now()).Add(length)
	if phase != "" {
		u.Phase = phase
	}
	return length, t.save(ctx, u)
}

// Beat is a unit that a station says it holds.
type Beat struct {
	UnitID string
	Epoch  int64
	Phase  string
}

// Pulse is what holds for a unit of a heartbeat.
type Pulse struct {
	// Left is how long the station has it from now; zero means lost.
	Left time.Duration
	// Cancel says that the unit is cancelled and this station still has it.
	Cancel bool
	// Urgent says of what is left that its order goes before others.
	Urgent bool
}

// Heartbeat renews what the station holds, all in one transaction, and says for
// each unit what holds.
func (s *Store) Heartbeat(ctx context.Context, station, sessionID string, beats []Beat) (pulses []Pulse, err error) {
	err = s.write(ctx, "heartbeat of station "+station, func(t *txn) error {
		touch := t.askTouch(ctx, station, sessionID, "")
		pulses = make([]Pulse, len(beats))
		order := make([]int, len(beats))
		for i := range order {
			order[i] = i
		}
		// Locked in one order, so that two stations that speak of the same units do not wait in a circle.
		slices.SortFunc(order, func(a, b int) int { return strings.Compare(beats[a].UnitID, beats[b].UnitID) })
		units := make(map[string]func() (Unit, error), len(beats))
		for _, i := range order {
			if id := beats[i].UnitID; units[id] == nil {
				units[id] = t.askUnit(ctx, id)
			}
		}
		length, err := touch()
		if err != nil {
			return err
		}
		urgent := map[string]bool{} // by order
		for _, i := range order {
			b := beats[i]
			unit := units[b.UnitID]
			units[b.UnitID] = func() (Unit, error) { return t.unit(ctx, b.UnitID) } // if it is named again
			u, err := unit()
			if isRefusal(err, NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if u.State.Over() && u.Station == station && b.Epoch <= u.Epoch {
				pulses[i].Cancel = true
				if err := t.stillThere(ctx, u); err != nil {
					return err
				}
				continue
			}
			if pulses[i].Left, err = t.renew(ctx, &u, station, b.Epoch, b.Phase, length); err != nil {
				return err
			}
			if _, known := urgent[u.OrderID]; !known {
				if urgent[u.OrderID], err = t.urgent(ctx, u.OrderID); err != nil {
					return err
				}
			}
			pulses[i].Urgent = urgent[u.OrderID]
		}
		return nil
	})
	return pulses, err
}

// urgent says whether an order is; it is only looked at, for orders are locked before their units.
func (t *txn) urgent(ctx context.Context, orderID string) (is bool, err error) {
	var n int64
	if err := t.QueryRowContext(ctx, `SELECT urgent FROM orders WHERE order_id = $1`, orderID).Scan(&n); err != nil {
		return false, fmt.Errorf("read order %s: %w", orderID, err)
	}
	return n != 0, nil
}

// stillThere prolongs the time that a station has to wipe the token of a cancelled unit.
func (t *txn) stillThere(ctx context.Context, u Unit) error {
	if u.ExpiresAt.IsZero() {
		return nil
	}
	u.ExpiresAt = fromMillis(t.now()).Add(t.store.rules.Custody)
	return t.save(ctx, &u)
}

func isRefusal(err error, reason Reason) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Reason == reason
}

// Release is a unit given back before a key was bound.
type Release struct {
	UnitID string
	Epoch  int64
	Reason string
	Detail string
	// Failed says that it counts as a failed attempt.
	Failed bool
}

// Release makes the unit READY, or HELD after MaxAttempts failed attempts.
func (s *Store) Release(ctx context.Context, station string, r Release) (u Unit, err error) {
	err = s.write(ctx, "release unit "+r.UnitID, func(t *txn) error {
		if u, err = t.unit(ctx, r.UnitID); err != nil {
			return err
		}
		if u.State == Cancelled && u.Station == station && u.Epoch == r.Epoch {
			return nil // it gives back what was taken away meanwhile
		}
		if err := u.held(station, r.Epoch); err != nil {
			return err
		}
		if u.State != Leased {
			return refuse(WrongState, "unit %s is %s: a key is bound to it, so it is reported by a result and not released", u.ID, u.State)
		}
		why := r.Reason
		if r.Detail != "" {
			why += ": " + r.Detail
		}
		event, set := EventRelease, func(*Unit) {}
		if r.Failed {
			if err := t.failed(ctx, station); err != nil {
				return err
			}
			attempts := u.Attempts + 1
			set = func(u *Unit) { u.Attempts = attempts }
			if attempts >= s.rules.MaxAttempts {
				event = EventHold
				set = func(u *Unit) {
					u.Attempts = attempts
					u.HeldReason = fmt.Sprintf("too many failed attempts (%d), the last: %s", attempts, why)
				}
			}
		}
		u, err = t.advance(ctx, u, event, why, set)
		return err
	})
	return u, err
}
