package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Pool gives out processes that hold one module instance; a process serves one
// user at a time.
type Pool interface {
	// Acquire returns an idle process, or a new one.
	Acquire(ctx context.Context) (pkcs11.Module, error)
	// Release takes it back; an unhealthy one is ended.
	Release(pkcs11.Module)
}

// Warmer is a Pool that can start processes ahead of time.
type Warmer interface {
	// Warm returns once n processes are idle, or as many as there may be.
	Warm(ctx context.Context, n int) error
}

// Instance is one configured module instance: a vendor module with its settings,
// or one bay of a software token.
type Instance struct {
	Name string
	Pool Pool
	// ModulePath is where the vendor's library is; ModuleSHA256 what its content must have,
	// in hexadecimal, where the configuration says so.
	ModulePath, ModuleSHA256 string
	// Tokens is how many tokens are written here at most, 0 for no limit. A software
	// token always shows one more blank slot, which is none.
	Tokens int
	// PCSC is the socket of the pcscd through which the module reaches its tokens,
	// "" for a module that needs none.
	PCSC string
}

// TokenUse says what a token in a slot is to this station.
type TokenUse string

// Token uses.
const (
	TokenBlank   TokenUse = "blank"   // free to be written
	TokenBusy    TokenUse = "busy"    // a job is at it
	TokenUsed    TokenUse = "used"    // initialised by us or by somebody
	TokenRefused TokenUse = "refused" // failed here before, or not to be told from another
	TokenUnknown TokenUse = "unknown" // no token profile fits
)

// inventory is what is plugged in, instance by instance, in configured order.
type inventory struct {
	mu        sync.Mutex
	instances []*instanceState
	profile   func(pkcs11.TokenInfo) (provision.TokenProfile, error)
	// stopped holds the token profiles whose factory SO PIN failed once: the lot is
	// not touched again. Of a lot that is not proved, one token at a time is tried.
	stopped, proved map[string]bool
	// failed says when that happened before this start.
	failed  map[string]time.Time
	breaker *breaker
}

type instanceState struct {
	Instance
	seen    bool
	looked  time.Time // when the last look ended
	stale   bool      // a job has ended here since the last look
	err     error
	slots   []pkcs11.Slot
	version int                        // grows when a token comes or goes
	busy    map[pkcs11.Identity]string // the unfinished job that has the token
	working map[string]bool            // jobs whose token is being written now
	long    map[string]bool            // those of them in a step that holds the token for long
	refused map[pkcs11.Identity]bool   // until the token was seen absent
	aside   map[pkcs11.Identity]bool   // until a person decides

	alarmed bool      // the service that it needs does not work
	shown   time.Time // when the last look began that showed a token
	apart   bool      // it shows tokens although that service does not work
}

func newInventory(instances []Instance, profile func(pkcs11.TokenInfo) (provision.TokenProfile, error)) *inventory {
	inv := &inventory{profile: profile, stopped: map[string]bool{}, proved: map[string]bool{}, breaker: newBreaker(time.Now)}
	for _, i := range instances {
		inv.instances = append(inv.instances, &instanceState{Instance: i, busy: map[pkcs11.Identity]string{}, working: map[string]bool{}, long: map[string]bool{}, refused: map[pkcs11.Identity]bool{}, aside: map[pkcs11.Identity]bool{}})
	}
	return inv
}

func (inv *inventory) instance(name string) *instanceState {
	for _, i := range inv.instances {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// longestRest is how long an instance is not looked at because one of its tokens
// is busy: where keys are made back to back the others would else never be seen.
const longestRest = 5 * time.Second

// resting reports whether the watcher should not look, because that only gets in
// the way: every token that the instance may have is being written; or one of them
// initialises or makes a key, and many modules and buses do nothing else meanwhile.
func (inv *inventory) resting(i *instanceState) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if i.Tokens > 0 && len(i.working) >= i.Tokens {
		return true
	}
	return len(i.long) > 0 && time.Since(i.looked) < longestRest
}

// entered takes note of the step that a job is in.
func (inv *inventory) entered(t provision.TokenRef, jobID string, step provision.StepName) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	switch {
	case i == nil:
	case step == provision.StepInitialise, step == provision.StepGenerateKey:
		i.long[jobID] = true
	default:
		delete(i.long, jobID)
	}
}

// misses reports whether a look does not show a token that the last one did.
func (inv *inventory) misses(i *instanceState, slots []pkcs11.Slot) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	now := inv.identities(slots)
	return slices.ContainsFunc(inv.identities(i.slots), func(id pkcs11.Identity) bool { return !slices.Contains(now, id) })
}

// saw records a look at an instance, begun then, and reports whether anything changed.
func (inv *inventory) saw(i *instanceState, begun time.Time, slots []pkcs11.Slot, err error) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	before := inv.identities(i.slots)
	changed := !i.seen || i.stale || (err == nil) != (i.err == nil)
	i.seen, i.stale, i.err, i.looked = true, false, err, time.Now()
	if err != nil {
		return changed
	}
	i.slots = slots
	after := inv.identities(slots)
	if len(after) > 0 {
		i.shown = begun
	}
	if !slices.Equal(before, after) {
		i.version++
		changed = true
	}
	// A token that cannot be read for a moment has not been taken out; nor has one
	// that is out of sight with all the others.
	faulty := i.alarmed || slices.ContainsFunc(slots, func(s pkcs11.Slot) bool { return s.Fault != nil })
	for id := range i.refused {
		if !faulty && !slices.Contains(after, id) {
			delete(i.refused, id)
		}
	}
	return changed
}

// identify names the token in a slot in the way of its model.
func (inv *inventory) identify(s pkcs11.Slot) pkcs11.Identity {
	if p, err := inv.profile(*s.Token); err == nil {
		return p.Identify(s)
	}
	return s.Identity()
}

func (inv *inventory) identities(slots []pkcs11.Slot) []pkcs11.Identity {
	var out []pkcs11.Identity
	for _, s := range slots {
		if s.Token != nil {
			out = append(out, inv.identify(s))
		}
	}
	return out
}

// crowded reports whether a token that nothing tells apart is not alone of its model.
func (inv *inventory) crowded(i *instanceState, p provision.TokenProfile) bool {
	n := 0
	for _, s := range i.slots {
		if s.Token == nil {
			continue
		}
		if other, err := inv.profile(*s.Token); err == nil && other.Name == p.Name {
			n++
		}
	}
	return p.Identity == provision.BySingle && n > 1
}

// settled reports whether every instance has been looked at since something happened there.
func (inv *inventory) settled() bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return !slices.ContainsFunc(inv.instances, func(i *instanceState) bool { return !i.seen || i.stale })
}

// use says what a token is to this station; all are the identities in its instance.
func (inv *inventory) use(i *instanceState, s pkcs11.Slot, all []pkcs11.Identity) TokenUse {
	id := inv.identify(s)
	if _, ok := i.busy[id]; ok {
		return TokenBusy
	}
	if inv.elsewhere(i, s, id) {
		return TokenRefused
	}
	twice := 0
	for _, other := range all {
		if other == id {
			twice++
		}
	}
	if twice > 1 || i.refused[id] || i.aside[id] {
		return TokenRefused
	}
	profile, err := inv.profile(*s.Token)
	switch {
	case err != nil:
		return TokenUnknown
	case inv.crowded(i, profile):
		return TokenRefused
	case s.Token.Initialized() && profile.FactorySOPIN.IsZero():
		return TokenUsed
	case s.Token.Initialized() && !profile.AsMade && s.Token.Flags.Has(pkcs11.FlagUserPINInitialized):
		return TokenUsed
	case !profile.FactorySOPIN.IsZero() && inv.stoppedLot(profile):
		return TokenUsed
	}
	return TokenBlank
}

// elsewhere reports whether a token is another instance's: one that is configured before
// this one shows it, or a job has it there, or it was refused or set aside there. Two
// libraries may reach the same hub.
func (inv *inventory) elsewhere(here *instanceState, s pkcs11.Slot, id pkcs11.Identity) bool {
	if id.Serial == "" || id.SlotDescription != "" {
		return false // nothing about it says that it is the same
	}
	before := true
	for _, i := range inv.instances {
		if i == here {
			before = false
			continue
		}
		if i.busy[id] != "" || i.refused[id] || i.aside[id] {
			return true
		}
		if before && slices.ContainsFunc(i.slots, func(o pkcs11.Slot) bool { return sameToken(o, s) }) {
			return true
		}
	}
	return false
}

// sameToken reports whether two slots of different instances show one token.
func sameToken(a, b pkcs11.Slot) bool {
	return a.Token != nil && b.Token != nil && a.Token.Serial == b.Token.Serial && a.Token.Model == b.Token.Model && a.Token.Manufacturer == b.Token.Manufacturer
}

// free returns the tokens that may be written now, in configured order.
func (inv *inventory) free() []provision.TokenRef {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	trying := inv.lotsAtWork()
	var out []provision.TokenRef
	for _, i := range inv.instances {
		if i.err != nil || i.stale || i.alarmed {
			continue
		}
		ids := inv.identities(i.slots)
		taken := i.takenByJobs(ids)
		var blank []pkcs11.Slot
		for _, s := range i.slots {
			if s.Token == nil {
				continue
			}
			switch use := inv.use(i, s, ids); {
			case use == TokenBlank && inv.breaker.rests(place{i.Name, s.Description}):
				taken++
			case use == TokenBlank:
				blank = append(blank, s)
			case use != TokenBusy: // which is counted as a job already
				taken++
			}
		}
		for n, s := range blank {
			if i.Tokens > 0 && taken+n >= i.Tokens {
				break
			}
			lot := inv.lotOf(*s.Token)
			if lot != "" && !inv.proved[lot] {
				if trying[lot] {
					continue
				}
				trying[lot] = true
			}
			out = append(out, provision.TokenRef{Module: i.Name, Identity: inv.identify(s), Model: s.Token.Model})
		}
	}
	return out
}

// place is where a token is now; without its slot when it is not in sight.
func (inv *inventory) place(t provision.TokenRef) place {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	at := place{module: t.Module, slot: t.Identity.SlotDescription}
	i := inv.instance(t.Module)
	if i == nil || at.slot != "" {
		return at
	}
	for _, s := range i.slots {
		if s.Token != nil && inv.identify(s) == t.Identity {
			at.slot = s.Description
		}
	}
	return at
}

// takenByJobs counts the tokens of unfinished jobs that are here. One that was
// pulled for good does not take its reader's place.
func (i *instanceState) takenByJobs(here []pkcs11.Identity) int {
	n := 0
	for id, job := range i.busy {
		if i.working[job] || slices.Contains(here, id) {
			n++
		}
	}
	return n
}

// lotOf is the profile whose factory SO PIN would be tried on a token; "" for none.
func (inv *inventory) lotOf(info pkcs11.TokenInfo) string {
	p, err := inv.profile(info)
	if err != nil || p.FactorySOPIN.IsZero() {
		return ""
	}
	return p.Name
}

// lotsAtWork are the lots of which a token is being written now.
func (inv *inventory) lotsAtWork() map[string]bool {
	out := map[string]bool{}
	for _, i := range inv.instances {
		for _, s := range i.slots {
			if s.Token == nil || i.busy[inv.identify(s)] == "" {
				continue
			}
			if lot := inv.lotOf(*s.Token); lot != "" {
				out[lot] = true
			}
		}
	}
	return out
}

// prove says that the factory SO PIN opened a token of a lot.
func (inv *inventory) prove(lot string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.proved[lot] = true
}

// setAside keeps a token from being chosen, even after it was taken out. One that is
// held by its slot cannot be known again.
func (inv *inventory) setAside(t provision.TokenRef) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if i := inv.instance(t.Module); i != nil && t.Identity.Serial != "" && t.Identity.SlotDescription == "" {
		i.aside[t.Identity] = true
	}
}

// moved takes note that a job's token has another identity now.
func (inv *inventory) moved(t provision.TokenRef, jobID string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil || i.busy[t.Identity] == jobID {
		return
	}
	for id, job := range i.busy {
		if job == jobID {
			delete(i.busy, id)
		}
	}
	i.busy[t.Identity] = jobID
}

// occupy gives a token to a job, under the identity that it has now; working says
// whether it is being written from here on.
func (inv *inventory) occupy(t provision.TokenRef, jobID string, working bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil {
		return
	}
	i.drop(jobID)
	i.busy[t.Identity] = jobID
	if working {
		i.working[jobID] = true
	}
}

// vacate takes a token from a job that has ended; refuse keeps it from being
// chosen again until it was taken out.
func (inv *inventory) vacate(t provision.TokenRef, jobID string, refuse bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil {
		return
	}
	i.drop(jobID)
	if refuse {
		i.refused[t.Identity] = true
	}
}

// drop forgets a job's hold. What the slots show is stale then: the token's
// identity may have changed under the job.
func (i *instanceState) drop(jobID string) {
	delete(i.long, jobID)
	for id, job := range i.busy {
		if job == jobID {
			delete(i.busy, id)
		}
	}
	if i.working[jobID] {
		i.stale = true
		delete(i.working, jobID)
	}
}

// present reports whether a token is plugged in, and a number that changes
// whenever a token comes or goes in its instance.
func (inv *inventory) present(t provision.TokenRef) (bool, int) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil {
		return false, 0
	}
	return slices.Contains(inv.identities(i.slots), t.Identity), i.version
}

// stopLot keeps every token of a profile from being tried with its factory SO PIN again.
func (inv *inventory) stopLot(profile string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.stopped[profile] = true
}

// failedBefore stops the lots whose factory SO PIN failed after it was configured.
func (inv *inventory) failedBefore(lots map[string]time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.failed = lots
}

// stoppedLot reports whether a profile's factory SO PIN is known to be wrong.
func (inv *inventory) stoppedLot(p provision.TokenProfile) bool {
	at, failed := inv.failed[p.Name]
	return inv.stopped[p.Name] || failed && at.After(p.FactorySince)
}

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
			if a.inventory.saw(i, begun, slots, err) {
				if err != nil {
					a.log.Warn("module cannot be read", "module", i.Name, "error", err)
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
