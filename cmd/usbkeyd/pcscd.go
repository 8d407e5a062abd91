package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/pcsc"
	"github.com/usbkeyd/usbkeyd/internal/wording"
)

// pcscSockets is, by module name, the socket of the pcscd that a module needs; those
// that need none are not in it.
func pcscSockets(modules []config.Module) map[string]string {
	uses := map[string]bool{} // by path: many entries are of one library
	out := map[string]string{}
	for _, m := range modules {
		if _, known := uses[m.Path]; !known {
			uses[m.Path] = pcsc.Uses(m.Path)
		}
		if uses[m.Path] {
			out[m.Name] = pcsc.Socket(m.Env)
		}
	}
	return out
}

// innocent ends what is done about a pcscd.
const innocent = " The tokens are not at fault: leave them plugged in."

// probePCSC asks the pcscd at a socket whether it works: nil when it does, else what
// is wrong and what to do.
func probePCSC(ctx context.Context, socket string) *agent.Alarm {
	err := pcsc.Probe(ctx, socket)
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	a := &agent.Alarm{Since: time.Now(), Text: err.Error()}
	switch {
	case errors.Is(err, pcsc.ErrNotRunning):
		a.Code, a.Hint = "pcscd-not-running", "Start pcscd: systemctl restart pcscd."+innocent
	case errors.Is(err, pcsc.ErrStuck):
		a.Code, a.Hint = "pcscd-stuck", "Restart pcscd: systemctl restart pcscd."+innocent
	case errors.Is(err, pcsc.ErrRefused):
		a.Code, a.Hint = "pcscd-refuses", "Let this user use pcscd (polkit, org.debian.pcsc-lite.access_pcsc), or restart pcscd when it serves too many: systemctl restart pcscd."+innocent
	default:
		a.Code, a.Hint = "pcscd-unknown", "See what listens on the socket, then restart pcscd: systemctl restart pcscd."+innocent
	}
	return a
}

// probeAll asks each pcscd once, side by side; nil for one that works.
func probeAll(ctx context.Context, modules []config.Module, sockets map[string]string) map[string]*agent.Alarm {
	out := map[string]*agent.Alarm{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, socket := range distinct(modules, sockets) {
		wait.Go(func() {
			alarm := probePCSC(ctx, socket)
			mu.Lock()
			defer mu.Unlock()
			out[socket] = alarm
		})
	}
	wait.Wait()
	return out
}

// distinct are the sockets without repeats, in the order of the modules.
func distinct(modules []config.Module, sockets map[string]string) []string {
	var out []string
	for _, m := range modules {
		if s := sockets[m.Name]; s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// printAlarms tells a person.
func printAlarms(words wording.Words, w io.Writer, alarms []agent.Alarm) {
	for _, a := range alarms {
		_, _ = words.Fprintf(w, "ALARM %s since %s: %s\n  %s\n", a.Code, a.Since.Format(time.TimeOnly), output.Clean(words.Told(a.Text)), words.Told(a.Hint))
	}
}

// note is something about a module that whoever runs the station should know.
type note struct {
	Module string `json:"module"`
	Code   string `json:"code"`
	Text   string `json:"text"`
}

// moduleNotes names the modules that are loaded with less than the usual trust: it
// is shown wherever the station's state is, so that nobody forgets it.
func moduleNotes(station *config.Station) []note {
	out := []note{}
	for _, m := range station.Modules {
		if m.Trust == config.TrustOwner {
			out = append(out, note{m.Name, "trust-owner", "trust: owner: whoever works as the daemon's user can exchange " + m.Path +
				" and read PINs; give the file to root and take trust out of the configuration"})
		}
	}
	return out
}

func (n note) String() string { return "Note: module " + n.Module + " has " + n.Text + "." }

func printNotes(words wording.Words, w io.Writer, notes []note) {
	for _, n := range notes {
		_, _ = fmt.Fprintln(w, output.Clean(words.Told(n.String())))
	}
}
