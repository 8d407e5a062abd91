package qualify

import (
	"context"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

const (
	// lookInterval is the time between two looks at the slots, as in the daemon.
	lookInterval = 500 * time.Millisecond
	// freshInterval is the time between two looks by a process that was just started.
	freshInterval = 2 * time.Second
)

// hotPlug has a person pull and insert the token and looks how that shows.
func (r *run) hotPlug(ctx context.Context) {
	if r.HotPlug == 0 {
		return
	}
	r.drop()
	r.Say("pull %s now, from slot %q (within %s)", r.id, r.slot.Description, r.HotPlug)
	if !r.awaitChange(ctx, "pulling", func(slots []pkcs11.Slot) bool { return r.find(slots) == nil }) {
		return
	}
	r.Say("insert it again, into the same place (within %s)", r.HotPlug)
	var back *pkcs11.Slot
	if !r.awaitChange(ctx, "inserting", func(slots []pkcs11.Slot) bool { back = r.find(slots); return back != nil }) {
		return
	}
	if back.Description == r.slot.Description {
		r.report.add(OK, "hot plug", "the token came back in the same slot with the same serial")
		return
	}
	r.report.add(Note, "hot plug", "the token came back in another slot: %q, before %q", back.Description, r.slot.Description)
}

// find is the slot of the token: by its serial if it has one.
func (r *run) find(slots []pkcs11.Slot) *pkcs11.Slot {
	for i, s := range slots {
		bySerial := s.Token != nil && r.id.Serial != "" && r.id.SlotDescription == "" && s.Token.Serial == r.id.Serial
		if bySerial || s.Is(r.id) {
			return &slots[i]
		}
	}
	return nil
}

// awaitChange looks again and again: with one process, as the daemon does, and now
// and then with a new one, which tells a module that does not notice from a person
// who does nothing.
func (r *run) awaitChange(ctx context.Context, what string, done func([]pkcs11.Slot) bool) bool {
	begun, lastFresh := time.Now(), time.Now()
	var fresh time.Time // when a new process saw it
	for !r.stopped() && time.Since(begun) < r.HotPlug {
		slots, err := r.slots(ctx)
		if err != nil {
			r.fault(Note, "hot plug", err)
		}
		if err == nil && done(slots) {
			r.report.add(OK, "hot plug", "%s shows in a running process, %.1f s after it was asked for", what, time.Since(begun).Seconds())
			return true
		}
		if fresh.IsZero() && !r.alone && time.Since(lastFresh) > freshInterval {
			lastFresh = time.Now()
			if r.freshSees(ctx, done) {
				fresh = time.Now()
			}
		}
		wait(ctx, lookInterval)
	}
	switch {
	case r.stopped():
	case !fresh.IsZero():
		r.report.add(Note, "hot plug", "%s the token shows in a new process only, %.1f s after it was asked for; a running one has not noticed in %s", what, fresh.Sub(begun).Seconds(), r.HotPlug)
		r.drop()
		return true
	default:
		r.report.add(Note, "hot plug", "%s the token did not show within %s", what, r.HotPlug)
	}
	return false
}

func (r *run) freshSees(ctx context.Context, done func([]pkcs11.Slot) bool) bool {
	second := bench{start: r.Start}
	defer second.drop()
	slots, err := second.slots(ctx)
	return err == nil && done(slots)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
