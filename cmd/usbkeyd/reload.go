package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/internal/systemd"
)

// reloader puts a changed configuration into effect, as far as that goes without a restart.
type reloader struct {
	load        func() (*config.Station, error)
	running     *config.Station // what is in effect
	products    *shelf
	reconfigure func(products []string)
	record      func() error // that the configuration is another one
	manager     *systemd.Manager
	log         *slog.Logger
}

// reload reads the file again. One that is wrong in any way changes nothing, and the log
// says why. Of one that is right the log has the keys that changed, never a value: among
// them are those of PINs and accounts.
func (r *reloader) reload() {
	if err := r.manager.Reloading(); err != nil {
		r.log.Warn("the service manager is not told", "error", err)
	}
	defer func() {
		if err := r.manager.Ready(); err != nil {
			r.log.Warn("the service manager is not told", "error", err)
		}
	}()
	next, cat, err := r.read()
	if err != nil {
		r.log.Error("the configuration was not reloaded: the one before stays in effect", "error", strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	live, restart := config.Changed(r.running, next)
	if len(live)+len(restart) == 0 {
		r.log.Info("the configuration was read again: nothing has changed")
		return
	}
	effective := *r.running
	effective.TakeLive(next)
	if effective.Validate() != nil { // it is right only together with what needs a restart
		live, restart = nil, append(live, restart...)
	}
	if len(live) > 0 {
		r.running = &effective
		r.products.Store(cat)
		r.reconfigure(cat.codes)
		if err := r.record(); err != nil {
			r.log.Error("the change of the configuration is not on record", "error", err)
		}
	}
	r.log.Info("the configuration was reloaded", "inEffect", live, "needsRestart", restart)
}

// read is all that a start does to find out whether the file is right.
func (r *reloader) read() (*config.Station, *catalogue, error) {
	next, err := r.load()
	if err != nil {
		return nil, nil, err
	}
	cat, err := newCatalogue(next)
	if err != nil {
		return nil, nil, err
	}
	if _, err := tokenProfiles(next); err != nil {
		return nil, nil, err
	}
	_, err = newMailers(next, cups.Supported)
	return next, cat, err
}

// onSignal reloads whenever the system asks for it, until end is called.
func (r *reloader) onSignal(ctx context.Context) (end func()) {
	asked := make(chan os.Signal, 1)
	signals := reloadSignals()
	if len(signals) == 0 {
		return func() {}
	}
	signal.Notify(asked, signals...)
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-asked:
				r.reload()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(asked)
		stop()
		<-ended
	}
}
