package agent

import (
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

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
