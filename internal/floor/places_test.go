package floor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
)

// TestPlaces: what is taught by tokens that come is kept over a restart, gives bays and claims
// their order, and an unreadable file is said.
func TestPlaces(t *testing.T) {
	station := &config.Station{StateDir: t.TempDir(), Modules: []config.Module{{Name: "hub"}, {Name: "soft", Tokens: 1}}}
	p, err := OpenPlaces(station)
	if err != nil {
		t.Fatal(err)
	}
	slots := []agent.SlotView{{Description: "one"}, {Description: "two"}, {Description: "three"}}
	soft := []agent.SlotView{{Description: "x"}}
	view := func() agent.View {
		return agent.View{Modules: []agent.ModuleView{{Name: "hub", Slots: slots}, {Name: "soft", Tokens: 1, Slots: soft}}}
	}
	p.view, p.changed = view, func() {}
	do := func(act console.TeachAct) {
		t.Helper()
		if err := p.Teach(act); err != nil {
			t.Fatal(err)
		}
	}
	do(console.TeachBegin)
	if !p.Going() {
		t.Fatal("nobody teaches")
	}
	slots[2].Present, slots[2].Use = true, agent.TokenUnknown
	if p.see(); p.Teaching().Fault != "model" || p.Teaching().Next != 1 {
		t.Errorf("another model: %+v", p.Teaching())
	}
	for _, s := range []*agent.SlotView{&slots[1], &soft[0], &slots[0]} {
		s.Present, s.Use = true, agent.TokenBlank
		p.see()
	}
	do(console.TeachFinish)
	if p.Going() {
		t.Error("it goes on")
	}
	if p, err = OpenPlaces(station); err != nil {
		t.Fatal(err)
	}
	if p.number("hub · two") != 1 || p.label("soft") != "2" || p.label("hub · one") != "3" || p.label("hub · three") != "hub · three" {
		t.Errorf("%q", p.taught)
	}
	if p.Order("hub", "two ") >= p.Order("soft", "any") || p.Order("soft", "any") >= p.Order("hub", "one") || p.Order("hub", "one") >= p.Order("hub", "three") {
		t.Error("order")
	}
	f := &floor{number: p.number, port: p.port}
	var names string
	for _, b := range f.numbered([]console.Bay{{Name: "hub · one"}, {Name: "hub · three"}, {Name: "hub · two"}, {Name: "other"}, {Name: "soft"}}) {
		names += b.Name + ";"
	}
	if names != "hub · two;soft;hub · one;hub · three;other;" {
		t.Errorf("bays are shown as %s", names)
	}
	p.view, p.changed = view, func() {}
	do(console.TeachBegin)
	do(console.TeachSkip)
	do(console.TeachCancel)
	if p.Going() || p.number("hub · two") != 1 {
		t.Error("cancelled, and something changed")
	}
	if err := os.WriteFile(filepath.Join(station.StateDir, "bays.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPlaces(station); err == nil {
		t.Error("a damaged file is read")
	}
}

// TestPlacesByPort: with the kernel's news of USB devices a bay is taught with its port, and known
// by it where slots are named in another order after a restart. Where there is no news bays are
// taught as without.
func TestPlacesByPort(t *testing.T) {
	station := &config.Station{StateDir: t.TempDir(), Modules: []config.Module{{Name: "usb"}}}
	var slots []agent.SlotView
	start := func() (p *Places, comes func(port string), hearing func() bool) {
		p, err := OpenPlaces(station)
		if err != nil {
			t.Fatal(err)
		}
		slots = []agent.SlotView{{Description: "token 0"}, {Description: "token 1"}}
		p.view = func() agent.View { return agent.View{Modules: []agent.ModuleView{{Name: "usb", Slots: slots}}} }
		p.changed = func() {}
		news := make(chan func(string))
		p.listen = func(ctx context.Context, added func(string), _ func(error)) error {
			select {
			case news <- added:
			case <-ctx.Done():
			}
			<-ctx.Done()
			return errors.ErrUnsupported
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { p.hear(ctx, slog.New(slog.DiscardHandler)); close(ended) }()
		t.Cleanup(func() {
			stop()
			if <-ended; p.hearing {
				t.Error("the news have ended, and it still hears")
			}
		})
		added := <-news
		p.see()
		return p, func(port string) {
			added(port)
			for i := range slots {
				if !slots[i].Present {
					slots[i].Present, slots[i].Use = true, agent.TokenBlank
					break
				}
			}
			if !p.see() {
				t.Errorf("a token at %s changes nothing", port)
			}
		}, func() bool { return p.hearing }
	}
	p, comes, hearing := start()
	if !hearing() {
		t.Error("nothing is heard")
	}
	if err := p.Teach(console.TeachBegin); err != nil {
		t.Fatal(err)
	}
	comes("1-2.1")
	comes("1-2.3")
	if now := p.Teaching(); !slices.Equal(now.Bays, []string{"usb · token 0", "usb · token 1"}) || !slices.Equal(now.Ports, []string{"1-2.1", "1-2.3"}) {
		t.Errorf("%+v", now)
	}
	if err := p.Teach(console.TeachFinish); err != nil {
		t.Fatal(err)
	}
	p, comes, _ = start()
	comes("1-2.3")
	comes("1-2.1")
	if p.number("usb · token 0") != 2 || p.number("usb · token 1") != 1 || p.port("usb · token 0") != "1-2.3" || p.Order("usb", "token 1") >= p.Order("usb", "token 0") {
		t.Errorf("token 0 is bay %d, token 1 bay %d", p.number("usb · token 0"), p.number("usb · token 1"))
	}
}
