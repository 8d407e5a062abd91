package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

type recoverOptions struct {
	serveOptions
	folderToo bool
	format    output.Format
}

func newRecover(s streams, data *string) *cobra.Command {
	o := recoverOptions{}
	c := &cobra.Command{
		Use: "recover", Short: "Make a store that was restored from a backup fit to work with", Args: noArgs,
		Long: `Make a store that was restored from a backup fit to work with.

After a restore the server does not start, because keys may have been given out and
certificates issued that the backup does not know. Stop all servers on the store,
give the same --data, --store and --ca as to "serve", and run this; then start them.

It ends all leases, puts every unit beyond the stations' old epochs, and asks the CA
what it issued. A unit with a certificate that the backup does not know the key of is
HELD, and so is one for which the CA cannot say what it issued: two persons decide
("units reissue"). When it fails or is stopped, run it again; it goes on.

Where the data directory itself came from the backup, it cannot tell: add
--folder-too. Never restore the development CA's record (ca in the data directory)
from a backup; the rest of the story is in docs/central-server.md.`,
		RunE: func(c *cobra.Command, _ []string) error {
			o.data = *data
			return o.run(c.Context(), s)
		},
	}
	f := c.Flags()
	o.addStoreFlags(f)
	o.ca.addFlags(f)
	f.BoolVar(&o.folderToo, "folder-too", false, "the data directory was restored or lost as well, so that it cannot tell")
	output.AddFlag(f, &o.format)
	return c
}

func (o recoverOptions) run(ctx context.Context, s streams) error {
	if o.data == "" {
		return usagef("recover needs --data DIR")
	}
	if err := o.ca.check(); err != nil {
		return err
	}
	postgres, err := o.postgres()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(s.err, nil))
	authority, closeCA, err := o.ca.open(log)
	if err != nil {
		return err
	}
	r, err := central.Recover(ctx, central.Config{DataDir: o.data, Postgres: postgres, CA: authority, Logger: log}, o.folderToo)
	if err = errors.Join(err, closeCA()); err != nil {
		return err
	}
	rows := output.Rows{Header: []string{"RECOVERED", "COUNT"}, Rows: [][]string{
		{"units looked at", strconv.Itoa(r.Units)},
		{"certificates kept, key known", strconv.Itoa(r.Issued)},
		{"certificates found, key lost: HELD", strconv.Itoa(r.Found)},
		{"units in doubt: HELD", strconv.Itoa(r.Doubtful)},
	}}
	for _, id := range r.Strangers {
		rows.Rows = append(rows.Rows, []string{"certificate of an order that is not here", id})
	}
	if err := o.format.Print(s.out, rows, r); err != nil {
		return fmt.Errorf("the recovery is done, but not told: %w", err)
	}
	return nil
}
