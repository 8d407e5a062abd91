package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
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

// consoleRoles are the configuration's, as the page knows them.
func consoleRoles(r config.Roles) map[console.Role]console.Accounts {
	out := map[console.Role]console.Accounts{}
	r.Each(func(role string, a config.Accounts) {
		out[console.Role(role)] = console.Accounts{Users: a.Users, Groups: a.Groups}
	})
	return out
}
