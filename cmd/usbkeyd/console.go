package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/buildinfo"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/provision"
)

type consoleOptions struct {
	streams
	socket    string
	noBrowser bool
	// folder is where the file with the link goes; open shows it in a browser, and is nil
	// where there is none.
	folder func() (string, error)
	open   func(ctx context.Context, path string) error
}

func newConsole(s streams) *cobra.Command {
	o := &consoleOptions{streams: s, folder: linkFolder, open: browser()}
	c := &cobra.Command{
		Use:   "console",
		Short: "Open the operator's page of this machine's station",
		Long: `Open the operator's page of the station that runs on this machine, under your own
account: the page knows you by it. The daemon gives a link that is good once, for a
minute. It is written to a file that only you can read, and the file is opened in
your browser. Do the same again when the page has locked.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context()) },
	}
	socketFlag(c, &o.socket)
	c.Flags().BoolVar(&o.noBrowser, "no-browser", false, "only write the file, and print where it is")
	return c
}

func (o *consoleOptions) run(ctx context.Context) error {
	link, person, err := console.Ask(ctx, o.socket)
	if err != nil {
		return unanswered(o.socket, err)
	}
	folder, err := o.folder()
	if err != nil {
		return err
	}
	path, err := console.WriteLink(folder, link)
	if err != nil {
		return err
	}
	if o.noBrowser || o.open == nil {
		_, err := o.words.Fprintf(o.out, "Open this file in a browser within a minute, as %s:\n%s\n", person, path)
		return err
	}
	if err := o.open(ctx, path); err != nil {
		return fmt.Errorf("the browser was not started; open %s within a minute: %w", path, err)
	}
	_, err = o.words.Fprintf(o.out, "The operator's page is opened for %s.\n", person)
	return err
}

// linkFolder is this account's: in memory where the system has such a place, because the
// link is of no use after a minute.
func linkFolder() (string, error) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "usbkeyd"), nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "usbkeyd"), err
}

// browser starts the desktop's browser; nil without a desktop.
func browser() func(context.Context, string) error {
	program, err := exec.LookPath("xdg-open")
	if err != nil || os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return nil
	}
	return func(ctx context.Context, path string) error {
		return exec.CommandContext(ctx, program, path).Run()
	}
}

// newPage wires the operator's page; nil where it is off.
func newPage(station *config.Station, st *state, taught *floor.Places, drain bool, log *slog.Logger) (_ *floor.Page, err error) {
	if station.Console.Port == 0 {
		return nil, nil
	}
	reading, err := provision.ReadJournal(journalPath(station.StateDir))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, reading.Close())
		}
	}()
	desk, err := newDesk(station, st.journal, st.vault)
	if err != nil {
		return nil, err
	}
	printed, err := newLabels(station, cups.Supported)
	if err != nil {
		return nil, err
	}
	var labels *floor.Labels
	if printed != nil {
		labels = &floor.Labels{Journal: st.journal, PrintLabels: printed.print, Log: log}
	}
	return floor.New(floor.Config{
		Station: station, Version: buildinfo.Version(), Drain: drain, Journal: st.journal, Reading: reading, Table: tables(station), Places: taught,
		Desk: desk, Labels: labels, Log: log,
		MailersLock: func() (*filelock.Lock, error) { return lockState(station.StateDir, mailersLock, "%s") },
		DiskFree:    func() int64 { return diskFree(station.StateDir) },
	})
}
