package floor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/bays"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/usbport"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Places are the numbers of the bays: what was taught, in a file of the state folder, the
// teaching that goes on, and the USB ports at which tokens came. It is console.Teacher.
type Places struct {
	path    string
	single  map[string]bool // modules that are one bay, whatever slots they show
	view    func() agent.View
	changed func()
	// listen is usbport.Listen.
	listen func(ctx context.Context, added func(port string), refused func(error)) error

	mu       sync.Mutex
	taught   bays.Map
	teaching *bays.Teaching // nil while nobody teaches
	hearing  bool           // of ports
	arrivals bays.Arrivals
}

// OpenPlaces reads what was taught; a station that was taught nothing has no file.
func OpenPlaces(station *config.Station) (*Places, error) {
	p := &Places{path: filepath.Join(station.StateDir, "bays.json"), single: map[string]bool{}, listen: usbport.Listen}
	for _, m := range station.Modules {
		p.single[m.Name] = m.Tokens == 1
	}
	data, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		p.taught, err = bays.Decode(data)
	}
	if err != nil {
		return nil, fmt.Errorf("numbers of the bays, %s: %w (without the file none is taught)", p.path, err)
	}
	return p, nil
}

// Order is agent.Config's.
func (p *Places) Order(module, slot string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.single[module] {
		return bays.Rank(p.arrivals.Number(p.taught, module))
	}
	return bays.Rank(p.arrivals.Number(p.taught, bayName(module, slot)))
}

// number is that of a bay, 0 for one that was not taught.
func (p *Places) number(bay string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.arrivals.Number(p.taught, bay)
}

// port is the USB port of a bay: where its token came, or as it was taught; "" for not known.
func (p *Places) port(bay string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if port := p.arrivals.Port(bay); port != "" {
		return port
	}
	if n := p.arrivals.Number(p.taught, bay); n > 0 {
		return p.taught[n-1].Port
	}
	return ""
}

// label is what stands on a bay: its number, or the name of its slot where it has none.
func (p *Places) label(bay string) string {
	if n := p.number(bay); n > 0 {
		return strconv.Itoa(n)
	}
	return bay
}

// Going reports whether somebody teaches.
func (p *Places) Going() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.teaching != nil
}

// hear listens for USB devices that come, until ctx ends or there is nothing to hear.
func (p *Places) hear(ctx context.Context, log *slog.Logger) {
	hearing := func(is bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.hearing = is
	}
	hearing(true)
	err := p.listen(ctx, func(port string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.arrivals.Added(port, time.Now())
	}, func(err error) { log.Debug("news of a USB device are passed over", "error", err) })
	hearing(false)
	if ctx.Err() == nil {
		log.Info("no USB ports are to be had: bays are known by their slots alone", "error", err)
	}
}

// look looks at the slots while somebody teaches or ports are heard of, until ctx ends.
func (p *Places) look(ctx context.Context) {
	const often = 200 * time.Millisecond
	t := time.NewTicker(often)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		p.mu.Lock()
		wanted := p.teaching != nil || p.hearing
		p.mu.Unlock()
		if wanted && p.see() {
			p.changed()
		}
	}
}

// see shows the slots to the teaching, and to who knows where their tokens came.
func (p *Places) see() bool {
	now := p.seen()
	p.mu.Lock()
	defer p.mu.Unlock()
	told := p.arrivals.See(now, time.Now())
	return p.teaching != nil && p.teaching.See(now) || told
}

// seen are the slots as the agent sees them.
func (p *Places) seen() []bays.Seen {
	var out []bays.Seen
	for _, m := range p.view().Modules {
		if p.single[m.Name] {
			s := bays.Seen{Slot: m.Name, Known: true}
			if at := chief(m.Slots); at != nil {
				s.Present, s.Known = at.Present, at.Use != agent.TokenUnknown
			}
			out = append(out, s)
			continue
		}
		for _, named := range slotNames(m) {
			out = append(out, bays.Seen{Slot: named.name, Present: named.slot.Present, Known: named.slot.Use != agent.TokenUnknown})
		}
	}
	return out
}

// Teaching implements console.Teacher.
func (p *Places) Teaching() console.Teaching {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.teaching == nil {
		return teachingOf(p.taught)
	}
	out := teachingOf(p.teaching.SoFar())
	fault, at := p.teaching.Fault()
	out.Going, out.Next, out.Fault, out.At = true, p.teaching.Next(), string(fault), at
	return out
}

func teachingOf(m bays.Map) (out console.Teaching) {
	for _, b := range m {
		out.Bays, out.Ports = append(out.Bays, b.Slot), append(out.Ports, b.Port)
	}
	return out
}

// Teach implements console.Teacher.
func (p *Places) Teach(do console.TeachAct) error {
	now := p.seen()
	defer p.changed()
	p.mu.Lock()
	defer p.mu.Unlock()
	if do == console.TeachBegin {
		if p.teaching == nil {
			p.teaching = bays.Begin(now)
		}
		return nil
	}
	if p.teaching == nil {
		return nil
	}
	switch do {
	case console.TeachUndo:
		p.teaching.Undo()
	case console.TeachSkip:
		p.teaching.Skip()
	case console.TeachAgain:
		p.teaching.Again()
	case console.TeachCancel:
		p.teaching = nil
	case console.TeachFinish:
		return p.finish()
	}
	return nil
}

// finish makes durable what was taught. p.mu is held.
func (p *Places) finish() error {
	taught := p.teaching.Taught()
	data, err := taught.Encode()
	if err != nil {
		return err
	}
	if err := provision.WriteDurably(p.path, data); err != nil {
		return fmt.Errorf("numbers of the bays: %w", err)
	}
	p.taught, p.teaching = taught, nil
	return nil
}
