package floor

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// stockroom is console.Stockroom over the journal and what the agent sees.
type stockroom struct {
	journal       *provision.Journal
	view          func() agent.View
	label         func(bay string) string
	deliveredOnly bool
	log           *slog.Logger

	mu  sync.Mutex
	now console.Stock
	// unlisted are those that were seen since the start, by serial and model.
	unlisted map[string]console.Found
}

// mostUnlisted bounds how many tokens that are on no list are remembered.
const mostUnlisted = 256

// look reads the stock now and then, until ctx ends.
func (r *stockroom) look(ctx context.Context) {
	const often = 5 * time.Second
	t := time.NewTicker(often)
	defer t.Stop()
	for {
		if err := r.read(); err != nil && ctx.Err() == nil {
			r.log.Error("the stock cannot be read", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (r *stockroom) read() error {
	tokens, err := r.journal.Stock("")
	if err != nil {
		return err
	}
	now := console.Stock{Read: true, DeliveredOnly: r.deliveredOnly}
	for _, l := range provision.Lots(tokens) {
		now.Lots = append(now.Lots, console.Lot{
			Name: l.Lot, Model: l.Model, Delivered: l.Delivered, Blank: l.States[provision.StockBlank], AtWork: l.States[provision.StockAtWork],
			Written: l.States[provision.StockWritten], Quarantined: l.States[provision.StockQuarantined], Refused: l.States[provision.StockRefused],
		})
	}
	if now.Here, err = r.here(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unlisted == nil {
		r.unlisted = map[string]console.Found{}
	}
	for _, f := range now.Here {
		if !f.Listed && len(r.unlisted) < mostUnlisted {
			r.unlisted[f.Token+"\x00"+f.Model] = f
		}
	}
	for key, f := range r.unlisted { // its list may have been taken in since
		t, err := r.journal.StockOf(pkcs11.TokenSerial(f.Token), f.Model)
		if err != nil {
			return err
		}
		if t != nil {
			delete(r.unlisted, key)
			continue
		}
		now.Unlisted = append(now.Unlisted, f)
	}
	slices.SortFunc(now.Unlisted, func(a, b console.Found) int { return strings.Compare(a.Token, b.Token) })
	r.now = now
	return nil
}

// here are the tokens that are plugged in and show a serial.
func (r *stockroom) here() ([]console.Found, error) {
	var out []console.Found
	for _, m := range r.view().Modules {
		for _, s := range m.Slots {
			if !s.Present || s.Serial == "" {
				continue
			}
			f := console.Found{Bay: m.Name, Token: string(s.Serial), Model: s.Model}
			if m.Tokens != 1 {
				f.Bay = slotName(m, s.Description)
			}
			f.Bay = r.label(f.Bay)
			t, err := r.journal.StockOf(s.Serial, s.Model)
			if err != nil {
				return nil, err
			}
			if t != nil {
				f.Listed, f.Casing, f.Lot = true, t.Casing, t.Lot
			}
			out = append(out, f)
		}
	}
	return out, nil
}

// Stock implements console.Stockroom.
func (r *stockroom) Stock() console.Stock {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}
