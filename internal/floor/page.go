package floor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Config is what a page is made of.
type Config struct {
	Station *config.Station
	Version string // of this build
	Drain   bool   // the daemon ends once no work is left
	Journal *provision.Journal
	// Reading is the journal by a way of its own into the file, so that no job waits for who
	// looks something up; the page closes it.
	Reading *provision.Journal
	// Table makes the packing table over a journal.
	Table  func(*provision.Journal) (provision.Table, error)
	Places *Places
	Desk   *Desk   // nil where no letters are printed
	Labels *Labels // nil where no labels are printed
	// MailersLock takes the lock under which letters are printed and confirmed.
	MailersLock func() (*filelock.Lock, error)
	// DiskFree is how many bytes may be written to the state folder; negative for unknown.
	DiskFree func() int64
	Log      *slog.Logger
}

// Page is the operator's page beside a daemon.
type Page struct {
	with    Config
	console *console.Console
	floor   *floor
	books   *Books
	post    *postroom
	apart   *isolation
	stock   *stockroom
}

// New makes it, not open yet. Who makes the agent passes progress on to Observe.
func New(with Config) (*Page, error) {
	station, taught := with.Station, with.Places
	facts := console.Station{
		Name: station.Name, Version: with.Version, Started: time.Now(), Tier: station.Identity.Tier, Servers: station.Central.URLs, Ending: with.Drain,
	}
	for _, m := range station.Modules {
		facts.Modules = append(facts.Modules, console.Module{Name: m.Name, Path: m.Path, Tokens: m.Tokens})
	}
	p := &Page{with: with, floor: newFloor(facts, time.Now), apart: newIsolation(with.Journal, with.Log)}
	p.floor.number, p.floor.port, p.apart.label = taught.number, taught.port, taught.label
	p.stock = &stockroom{journal: with.Journal, deliveredOnly: station.Stock.DeliveredOnly, label: taught.label, log: with.Log}
	if err := p.floor.recall(with.Journal); err != nil {
		return nil, err
	}
	p.books = NewBooks(with.Reading, with.Table)
	p.books.bay = p.floor.bayOf
	p.post = &postroom{station: station, journal: with.Journal, desk: with.Desk, lock: with.MailersLock, now: time.Now}
	var labels console.Labels
	if with.Labels != nil {
		labels = with.Labels
	}
	c, err := console.New(console.Config{
		Floor: p.floor, Books: p.books, Packing: &packer{journal: with.Journal, table: with.Table, now: time.Now}, Mailers: p.post,
		Quarantine: p.apart, Stockroom: p.stock, Teacher: taught, Labels: labels, OneAtATime: station.Labels.OneAtATime,
		Port: station.Console.Port, LockAfter: station.Console.LockAfter, Roles: roles(station.Console.Roles), Clock: agent.SinceBoot, Log: with.Log,
	})
	if err != nil {
		return nil, err
	}
	p.console = c
	return p, nil
}

// roles are the configuration's, as the page knows them.
func roles(of config.Roles) map[console.Role]console.Accounts {
	out := map[console.Role]console.Accounts{}
	of.Each(func(role string, a config.Accounts) {
		out[console.Role(role)] = console.Accounts{Users: a.Users, Groups: a.Groups}
	})
	return out
}

// Close closes what the page reads.
func (p *Page) Close() error { return p.with.Reading.Close() }

// Observe hears of every step of every job.
func (p *Page) Observe(told provision.Progress) {
	p.floor.observe(told)
	if told.State == provision.StateQuarantined {
		p.apart.stale()
	}
	p.console.Changed()
}

// Begin opens the page over an agent that has not begun, and serves it until end is called.
// That it cannot be opened is an error; that it ends later stops no work.
func (p *Page) Begin(ctx context.Context, a *agent.Agent) (end func(), err error) {
	changed, log := p.console.Changed, p.with.Log
	p.floor.view, p.floor.alarms, a.Changed = a.View, a.Alarms, changed
	if desk := p.with.Desk; desk != nil { // beside the watcher and the jobs, as the packing table reads keys
		desk.OnToken = func(ctx context.Context, rec *provision.Record, act func(pkcs11.Module) error) error {
			return a.Borrow(ctx, rec.Token.Module, act)
		}
	}
	p.apart.agent, p.apart.changed = a, changed
	p.stock.view = a.View
	p.with.Places.view, p.with.Places.changed = a.View, changed
	if p.with.Labels != nil {
		p.with.Labels.Changed = a.Labelled
	}
	doors, err := p.console.Open(ctx, p.with.Station.Console.Socket)
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
	loops.Go(func() { p.floor.look(ctx, p.with.Journal, p.with.DiskFree) })
	loops.Go(func() { p.apart.look(ctx) })
	loops.Go(func() { p.stock.look(ctx) })
	loops.Go(func() { p.with.Places.look(ctx) })
	loops.Go(func() { p.with.Places.hear(ctx, log) })
	return func() {
		stop()
		loops.Wait()
	}, nil
}
