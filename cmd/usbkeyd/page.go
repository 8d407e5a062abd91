package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/buildinfo"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// page is the operator's page beside a daemon, before it is opened.
type page struct {
	*console.Console
	floor   *floor
	books   *books
	post    *postroom
	apart   *isolation
	stock   *stockroom
	places  *places
	station *config.Station
	labels  *labelDesk // nil where no labels are printed
}

// newPage makes it; nil where it is off. Who makes the agent passes progress on to observe.
func newPage(station *config.Station, st *state, taught *places, drain bool, log *slog.Logger) (*page, error) {
	if station.Console.Port == 0 {
		return nil, nil
	}
	facts := console.Station{
		Name: station.Name, Version: buildinfo.Version(), Started: time.Now(), Tier: station.Identity.Tier, Servers: station.Central.URLs, Ending: drain,
	}
	for _, m := range station.Modules {
		facts.Modules = append(facts.Modules, console.Module{Name: m.Name, Path: m.Path, Tokens: m.Tokens})
	}
	p := &page{floor: newFloor(facts, time.Now), apart: newIsolation(st.journal, log), places: taught, station: station}
	p.floor.number, p.floor.port, p.apart.label = taught.number, taught.port, taught.label
	p.stock = &stockroom{journal: st.journal, deliveredOnly: station.Stock.DeliveredOnly, label: taught.label, log: log}
	if err := p.floor.recall(st.journal); err != nil {
		return nil, err
	}
	// Who looks something up has a way of their own into the file, so that no job waits for it.
	reading, err := provision.ReadJournal(journalPath(station.StateDir))
	if err != nil {
		return nil, err
	}
	p.books = &books{station: station, journal: reading, now: time.Now, bay: p.floor.bayOf}
	desk, err := newDesk(station, st.journal, st.vault)
	if err != nil {
		return nil, errors.Join(err, reading.Close())
	}
	p.post = &postroom{station: station, journal: st.journal, desk: desk, now: time.Now}
	printed, err := newLabels(station, cups.Supported)
	if err != nil {
		return nil, errors.Join(err, reading.Close())
	}
	var labels console.Labels
	if printed != nil {
		p.labels = &labelDesk{labels: printed, journal: st.journal, log: log}
		labels = p.labels
	}
	c, err := console.New(console.Config{
		Floor: p.floor, Books: p.books, Packing: &packer{station: station, journal: st.journal, now: time.Now}, Mailers: p.post,
		Quarantine: p.apart, Stockroom: p.stock, Teacher: p.places, Labels: labels, OneAtATime: station.Labels.OneAtATime,
		Port: station.Console.Port, LockAfter: station.Console.LockAfter, Roles: consoleRoles(station.Console.Roles), Clock: agent.SinceBoot, Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, reading.Close())
	}
	p.Console = c
	return p, nil
}

// Close closes what the page reads.
func (p *page) Close() error { return p.books.journal.Close() }

// observe hears of every step of every job.
func (p *page) observe(told provision.Progress) {
	p.floor.observe(told)
	if told.State == provision.StateQuarantined {
		p.apart.stale()
	}
	p.Changed()
}

// begin opens the page over an agent that has not begun, and serves it until end is called.
// That it cannot be opened is an error; that it ends later stops no work.
func (p *page) begin(ctx context.Context, a *agent.Agent, journal *provision.Journal, log *slog.Logger) (end func(), err error) {
	p.floor.view, p.floor.alarms, a.Changed = a.View, a.Alarms, p.Changed
	if p.post.desk != nil { // beside the watcher and the jobs, as the packing table reads keys
		p.post.desk.onToken = func(ctx context.Context, rec *provision.Record, act func(pkcs11.Module) error) error {
			return a.Borrow(ctx, rec.Token.Module, act)
		}
	}
	p.apart.agent, p.apart.changed = a, p.Changed
	p.stock.view = a.View
	p.places.view, p.places.changed = a.View, p.Changed
	if p.labels != nil {
		p.labels.changed = a.Labelled
	}
	doors, err := p.Open(ctx, p.station.Console.Socket)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	var loops sync.WaitGroup
	loops.Go(func() {
		if err := doors.Serve(ctx); err != nil {
			log.Error("the operator's page is gone; the work goes on", "error", err)
		}
	})
	loops.Go(func() { p.floor.look(ctx, journal, p.station.StateDir) })
	loops.Go(func() { p.apart.look(ctx) })
	loops.Go(func() { p.stock.look(ctx) })
	loops.Go(func() { p.places.look(ctx) })
	loops.Go(func() { p.places.hear(ctx, log) })
	return func() {
		stop()
		loops.Wait()
	}, nil
}
