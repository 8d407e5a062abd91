package agent

import (
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Unlisted is a token that would be written if it were on the list of delivered ones.
type Unlisted struct {
	Token provision.TokenRef
	Err   error
}

// unlisted returns such tokens, in configured order.
func (inv *inventory) unlisted() []Unlisted {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	var out []Unlisted
	for _, i := range inv.instances {
		out = append(out, inv.unlistedIn(i)...)
	}
	return out
}

// unlistedNow returns those of an instance that nobody was told of since they were
// plugged in.
func (inv *inventory) unlistedNow(i *instanceState) []Unlisted {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	var out []Unlisted
	for _, u := range inv.unlistedIn(i) {
		if !i.told[u.Token.Identity] {
			i.told[u.Token.Identity] = true
			out = append(out, u)
		}
	}
	return out
}

func (inv *inventory) unlistedIn(i *instanceState) []Unlisted {
	if inv.delivered == nil || i.err != nil {
		return nil
	}
	ids := inv.identities(i.slots)
	initialised := 0
	for _, s := range i.slots {
		if s.Token != nil && s.Token.Initialized() {
			initialised++
		}
	}
	var out []Unlisted
	for _, s := range i.slots {
		if s.Token == nil || inv.use(i, s, ids) != TokenUnlisted {
			continue
		}
		if i.Tokens > 0 && initialised >= i.Tokens && !s.Token.Initialized() {
			continue // the blank slot that a software token shows beside its tokens
		}
		ref := provision.TokenRef{Module: i.Name, Identity: inv.identify(s), Model: s.Token.Model}
		out = append(out, Unlisted{Token: ref, Err: inv.delivered(*s.Token)})
	}
	return out
}

// deliveredOnly asks the stock about a token; nil where any token may be written.
func deliveredOnly(r *provision.Runner) func(pkcs11.TokenInfo) error {
	if !r.DeliveredOnly {
		return nil
	}
	return func(info pkcs11.TokenInfo) error {
		_, err := r.Delivered(info)
		return err
	}
}
