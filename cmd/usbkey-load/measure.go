package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/stationload"
)

const (
	// phaseLimit is how long one phase may take.
	phaseLimit = 10 * time.Minute
	// settle is how long a server has after its start before its memory is measured.
	settle = 3 * time.Second
	// senders is how many orders of the backlog are sent at the same time.
	senders = 8
	// afterRestart is how many units are made last, to see that all is well.
	afterRestart = 20
	// claimedShare of the units are claimed before any of them is worked on.
	claimedShare = 0.2
)

// bench is the servers and stations of one row of the table.
type bench struct {
	o       options
	servers []*server
	fleet   *stationload.Fleet
	due     time.Time
	orders  int
	row     Row
}

// measure puts n stations on servers of their own.
func measure(ctx context.Context, o options, n int, dir string, progress io.Writer) (row Row, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Row{}, err
	}
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(progress, "%5d stations: "+format+"\n", append([]any{n}, args...)...)
	}
	sealed, sum, err := recipient(filepath.Join(dir, "recipient.pem"))
	if err != nil {
		return Row{}, err
	}
	supply, err := stationload.NewSupply(o.units, sealed, sum)
	if err != nil {
		return Row{}, err
	}
	b := &bench{o: o, due: time.Now().Add(72 * time.Hour), row: Row{Stations: n}}
	defer func() {
		if b.fleet != nil {
			b.fleet.Stop()
		}
		for _, s := range b.servers {
			err = errors.Join(err, s.stop(syscall.SIGKILL))
		}
	}()
	if err := b.startServers(ctx, dir); err != nil {
		return Row{}, err
	}
	say("enrolling")
	var urls []string
	for _, s := range b.servers {
		urls = append(urls, s.url)
	}
	if b.fleet, err = stationload.NewFleet(ctx, n, urls, supply, b.servers[0].admin.EnrollStation); err != nil {
		return Row{}, err
	}
	steady := min(10*o.rate, o.units/10)
	claimed := int(claimedShare * float64(o.units))
	backlog := o.units - steady - claimed - afterRestart
	for _, phase := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"idle", b.idle},
		{fmt.Sprintf("%d orders of one unit, %d a second, to stations that wait", steady, o.rate), func(ctx context.Context) error { return b.steady(ctx, steady) }},
		{fmt.Sprintf("claiming %d units", claimed), func(ctx context.Context) error { return b.claims(ctx, claimed) }},
		{fmt.Sprintf("a backlog of %d units", backlog), func(ctx context.Context) error { return b.lives(ctx, backlog) }},
		{"all servers killed and started again", b.reconnect},
		{"checking", b.check},
	} {
		say("%s", phase.what)
		limited, cancel := context.WithTimeout(ctx, phaseLimit)
		err := phase.do(limited)
		cancel()
		if err != nil {
			return Row{}, fmt.Errorf("%s: %w", phase.what, err)
		}
	}
	return b.row, nil
}

// idle measures memory and processor time of servers with nothing to do, with no
// station and with all.
func (b *bench) idle(ctx context.Context) error {
	// Enrolling has left its garbage behind.
	if err := b.restart(ctx, syscall.SIGTERM); err != nil {
		return err
	}
	time.Sleep(settle)
	before, err := b.resident()
	if err != nil {
		return err
	}
	n := b.row.Stations
	begun := time.Now()
	b.fleet.Start(context.WithoutCancel(ctx), time.Duration(n)*5*time.Millisecond)
	b.fleet.Open(false)
	if err := b.fleet.Until(ctx, "all stations poll", func() bool { return b.fleet.Polling() == n }); err != nil {
		return err
	}
	b.row.ConnectSeconds = time.Since(begun).Seconds()
	cpu, err := b.cpu()
	if err != nil {
		return err
	}
	begun = time.Now()
	time.Sleep(b.o.settle)
	more, err := b.cpu()
	if err != nil {
		return err
	}
	b.row.IdleProcessor = (more - cpu).Seconds() / time.Since(begun).Seconds()
	after, err := b.resident()
	if err != nil {
		return err
	}
	b.row.ServerBytes, b.row.ServerBytesPolling = before, after
	b.row.BytesPerStation = (after - before) / int64(n)
	return nil
}

// steady sends orders to stations that wait, slowly enough for there to be no queue.
func (b *bench) steady(ctx context.Context, units int) error {
	record := b.fleet.Phase()
	tick := time.NewTicker(time.Second / time.Duration(b.o.rate))
	defer tick.Stop()
	var all sync.WaitGroup
	errs := make(chan error, units)
	for i := range units {
		<-tick.C
		b.orders++
		id := b.orderID()
		all.Go(func() {
			b.fleet.Sent(id)
			errs <- b.put(ctx, i, id, 1)
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	if err := b.fleet.Until(ctx, "all are installed", func() bool { return record.Count(stationload.Result) == units }); err != nil {
		return err
	}
	b.row.Waiting = spreadOf(record)
	b.row.refusals(record)
	return nil
}

// claims measures claims alone: what is claimed is worked on afterwards.
func (b *bench) claims(ctx context.Context, units int) error {
	if err := b.backlog(ctx, units); err != nil {
		return err
	}
	record := b.fleet.Phase()
	b.fleet.Open(true)
	if err := b.fleet.Until(ctx, "all are claimed", func() bool { return record.Count(stationload.Claim) == units }); err != nil {
		return err
	}
	b.row.ClaimsPerSecond = record.Rate(stationload.Claim)
	if err := b.fleet.Pause(ctx); err != nil {
		return err
	}
	b.fleet.Open(false)
	if err := b.fleet.Until(ctx, "all are installed", func() bool { return record.Count(stationload.Result) == units }); err != nil {
		return err
	}
	b.row.refusals(record)
	return nil
}

// lives measures whole lives of units, as fast as they go.
func (b *bench) lives(ctx context.Context, units int) error {
	if err := b.backlog(ctx, units); err != nil {
		return err
	}
	server, err := b.cpu()
	if err != nil {
		return err
	}
	own, err := ownCPU()
	if err != nil {
		return err
	}
	record := b.fleet.Phase()
	b.fleet.Open(false)
	if err := b.fleet.Until(ctx, "all are installed", func() bool { return record.Count(stationload.Result) == units }); err != nil {
		return err
	}
	serverAfter, err1 := b.cpu()
	ownAfter, err2 := ownCPU()
	load, err3 := loadAverage()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	b.row.LivesPerSecond = record.Rate(stationload.Result)
	b.row.Backlog = spreadOf(record)
	b.row.ServerMillisPerLife = (serverAfter - server).Seconds() * 1000 / float64(units)
	b.row.StationMillisPerLife = (ownAfter - own).Seconds() * 1000 / float64(units)
	b.row.LoadAverage = load
	b.row.refusals(record)
	return nil
}

// reconnect kills all servers while all stations poll, and measures until they do so again.
func (b *bench) reconnect(ctx context.Context) error {
	n := b.row.Stations
	if err := b.fleet.Until(ctx, "all stations poll", func() bool { return b.fleet.Polling() == n }); err != nil {
		return err
	}
	record := b.fleet.Phase()
	if err := b.restart(ctx, syscall.SIGKILL); err != nil {
		return err
	}
	begun := time.Now()
	if err := b.fleet.Until(ctx, "all stations poll again", func() bool { return record.Sessions() == n && b.fleet.Polling() == n }); err != nil {
		return err
	}
	b.row.ReconnectSeconds = time.Since(begun).Seconds()
	r := record.Refusals()
	b.row.ReconnectBusy, b.row.ReconnectBroken = r.Busy, r.Broken
	if r.Failed > 0 {
		b.row.Wrong = append(b.row.Wrong, fmt.Sprintf("%d answers were 5xx without being 503 with Retry-After: %v", r.Failed, r.Odd))
	}
	record = b.fleet.Phase()
	b.orders++
	if err := b.put(ctx, 0, b.orderID(), afterRestart); err != nil {
		return err
	}
	if err := b.fleet.Until(ctx, "the last order is installed", func() bool { return record.Count(stationload.Result) == afterRestart }); err != nil {
		return err
	}
	b.row.refusals(record)
	return nil
}

// backlog pauses all stations and sends orders for so many units.
func (b *bench) backlog(ctx context.Context, units int) error {
	if err := b.fleet.Pause(ctx); err != nil {
		return err
	}
	b.row.refusals(b.fleet.Phase())
	type order struct {
		id       string
		quantity int
	}
	orders := make(chan order)
	errs := make(chan error, senders)
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			var err error
			for next := range orders {
				if err == nil {
					err = b.put(ctx, i, next.id, next.quantity)
				}
			}
			errs <- err
		})
	}
	for left := units; left > 0; left -= b.o.orderSize {
		b.orders++
		orders <- order{b.orderID(), min(left, b.o.orderSize)}
	}
	close(orders)
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) orderID() string { return fmt.Sprintf("LOAD-%06d", b.orders) }

func (b *bench) put(ctx context.Context, i int, id string, quantity int) error {
	text, err := stationload.Order(id, quantity, b.due)
	if err != nil {
		return err
	}
	_, _, err = b.servers[i%len(b.servers)].admin.PutOrder(ctx, id, text)
	return err
}

func (b *bench) startServers(ctx context.Context, dir string) error {
	recipient := filepath.Join(dir, "recipient.pem")
	args := []string{"--pin-recipient", recipient, "--so-pin-recipient", recipient}
	if b.o.store != "" {
		args = append(args, "--store-file", b.o.store)
	}
	for i := range b.o.nodes {
		s := &server{program: b.o.server, dir: filepath.Join(dir, fmt.Sprintf("central-%d", i+1)), listen: "127.0.0.1:0", args: args}
		if i > 0 {
			// Servers on one store have the same keys.
			for _, keys := range []string{"ca", "station-root"} {
				if err := os.CopyFS(filepath.Join(s.dir, keys), os.DirFS(filepath.Join(b.servers[0].dir, keys))); err != nil {
					return err
				}
			}
			if err := private(s.dir); err != nil {
				return err
			}
		}
		if err := s.start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		b.servers = append(b.servers, s)
	}
	return nil
}

// private takes the rights of others from everything in a folder; copying has left them.
func private(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
}

func (b *bench) restart(ctx context.Context, how os.Signal) error {
	for _, s := range b.servers {
		if err := s.stop(how); err != nil {
			return err
		}
	}
	for _, s := range b.servers {
		if err := s.start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) resident() (all int64, err error) {
	for _, s := range b.servers {
		n, err := s.resident()
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

func (b *bench) cpu() (all time.Duration, err error) {
	for _, s := range b.servers {
		d, err := s.cpu()
		if err != nil {
			return 0, err
		}
		all += d
	}
	return all, nil
}
