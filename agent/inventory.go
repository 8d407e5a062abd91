package agent

import (
	"cmp"
	"context"
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
	// TokenUnlisted would be blank, but is not on the list of delivered tokens.
	TokenUnlisted TokenUse = "unlisted"
)

// inventory is what is plugged in, instance by instance, in configured order.
type inventory struct {
	mu        sync.Mutex
	instances []*instanceState
	profile   func(pkcs11.TokenInfo) (provision.TokenProfile, error)
	// delivered says why a token must not be written as far as the stock goes; nil where
	// nobody asks.
	delivered func(pkcs11.TokenInfo) error
	// stopped holds the token profiles whose factory SO PIN failed once: the lot is
	// not touched again. Of a lot that is not proved, one token at a time is tried.
	stopped, proved map[string]bool
	// order is Config.Order.
	order func(module, slot string) int
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
	told    map[pkcs11.Identity]bool   // of unlisted ones, until the token was seen absent
	unsure  bool                       // the last look left something open about labels; the watcher's

	alarmed bool      // the service that it needs does not work
	shown   time.Time // when the last look began that showed a token
	apart   bool      // it shows tokens although that service does not work
}

func newInventory(instances []Instance, profile func(pkcs11.TokenInfo) (provision.TokenProfile, error)) *inventory {
	inv := &inventory{profile: profile, stopped: map[string]bool{}, proved: map[string]bool{}, breaker: newBreaker(time.Now)}
	for _, i := range instances {
		inv.instances = append(inv.instances, &instanceState{Instance: i, busy: map[pkcs11.Identity]string{}, working: map[string]bool{}, long: map[string]bool{}, refused: map[pkcs11.Identity]bool{}, aside: map[pkcs11.Identity]bool{}, told: map[pkcs11.Identity]bool{}})
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
	faulty := i.faulty()
	for id := range i.refused {
		if !faulty && !slices.Contains(after, id) {
			delete(i.refused, id)
		}
	}
	for id := range i.told {
		if !faulty && !slices.Contains(after, id) {
			delete(i.told, id)
		}
	}
	return changed
}

// faulty reports whether a token that the last look did not show may be there all the same.
func (i *instanceState) faulty() bool {
	return i.err != nil || i.alarmed || slices.ContainsFunc(i.slots, func(s pkcs11.Slot) bool { return s.Fault != nil })
}

// here are the tokens that the last look has shown, and whether it has shown all there are.
func (inv *inventory) here(i *instanceState) (ids []pkcs11.Identity, all bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.identities(i.slots), !i.faulty()
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
	case inv.delivered != nil && inv.delivered(*s.Token) != nil:
		return TokenUnlisted
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

// free returns the tokens that may be written now, in the order in which bays are filled.
func (inv *inventory) free() []provision.TokenRef {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	type candidate struct {
		token provision.TokenRef
		lot   string
		order int
	}
	var all []candidate
	for _, i := range inv.instances {
		if i.err != nil || i.stale || i.alarmed {
			continue
		}
		ids := inv.identities(i.slots)
		taken := i.takenByJobs(ids)
		var blank []candidate
		for _, s := range i.slots {
			if s.Token == nil {
				continue
			}
			switch use := inv.use(i, s, ids); {
			case use == TokenBlank && inv.breaker.rests(place{i.Name, s.Description}):
				taken++
			case use == TokenBlank:
				c := candidate{token: provision.TokenRef{Module: i.Name, Identity: inv.identify(s), Model: s.Token.Model}, lot: inv.lotOf(*s.Token)}
				if inv.order != nil {
					c.order = inv.order(i.Name, s.Description)
				}
				blank = append(blank, c)
			case use != TokenBusy && use != TokenUnlisted:
				// A busy one is counted as a job already, and one that is not on the list is
				// never written.
				taken++
			}
		}
		if i.Tokens > 0 {
			blank = blank[:max(0, min(len(blank), i.Tokens-taken))]
		}
		all = append(all, blank...)
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.order, b.order) })
	trying := inv.lotsAtWork()
	var out []provision.TokenRef
	for _, c := range all {
		if c.lot != "" && !inv.proved[c.lot] {
			if trying[c.lot] {
				continue
			}
			trying[c.lot] = true
		}
		out = append(out, c.token)
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
