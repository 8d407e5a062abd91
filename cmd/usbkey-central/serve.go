package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/buildinfo"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/systemd"
)

// maxPEM bounds a recipient's file.
const maxPEM = 1 << 20

type serveOptions struct {
	data                string
	store, storeFile    string
	listen, adminListen string
	names               []string
	userPINRecipients   []string
	soPINRecipients     []string
	tpmMakers           []string
	leaseSeconds        int
	retainDays          int
	calendar            string
	ca                  caOptions
}

func newServe(s streams, data *string) *cobra.Command {
	o := serveOptions{}
	c := &cobra.Command{
		Use: "serve", Short: "Run the central server until it is told to stop", Args: noArgs,
		Long: `Run the central server until it gets SIGTERM or SIGINT.

The data directory holds everything: the database, the development CA, the root
of the stations' certificates, the server's own TLS certificate and the
administration token. It is made at the first start.

With --store or --store-file the database is in PostgreSQL 15 or newer, and any
number of servers may share it. Each has a data directory of its own; the folders
station-root and ca in it are copies of the first server's.

With --ca est or --ca drop another CA than the development CA certifies the keys;
--ca-config says where it is. "ca check" tries the settings.

An order without a due time is due on the third working day after its approval,
by the holiday notices that are built in. --calendar adds those of other years
from a file, which may be replaced while the server runs; "calendar check" tries
it, and "calendar show" has its form.

The addresses are printed, one per line, once requests are answered, and written
to addresses.json in the data directory. The log goes to standard error as JSON.`,
		RunE: func(c *cobra.Command, _ []string) error {
			o.data = *data
			return o.run(c.Context(), s)
		},
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8443", "`address` for stations (HTTPS); port 0 takes a free one")
	f.StringVar(&o.adminListen, "admin-listen", "127.0.0.1:8444", "loopback `address` for administration (HTTP); port 0 takes a free one")
	o.addStoreFlags(f)
	f.StringArrayVar(&o.names, "name", nil, "host `name` or IP address under which stations reach the server, beside localhost; may be repeated")
	f.StringArrayVar(&o.userPINRecipients, "pin-recipient", nil, "`file` with the certificate (PEM) of one who may open user PINs; may be repeated")
	f.StringArrayVar(&o.soPINRecipients, "so-pin-recipient", nil, "`file` with the certificate (PEM) of one who may open SO PINs; may be repeated")
	f.StringArrayVar(&o.tpmMakers, "tpm-maker", nil, "`file` with the certificates (PEM) of a TPM maker's root, and of the issuers under it; may be repeated")
	f.IntVar(&o.leaseSeconds, "lease-seconds", 120, "shortest lease, at least 2; a session's lease is never shorter than its worst key generation plus 60 s (or half of this, where that is less)")
	f.IntVar(&o.retainDays, "retain-days", 0, "`days` after which names, addresses and numbers of persons are removed from orders that are shipped or cancelled; 0 keeps them")
	f.StringVar(&o.calendar, "calendar", "", "`file` with holiday notices, beside the built-in ones and over them")
	o.ca.addFlags(f)
	return c
}

func (o serveOptions) run(ctx context.Context, s streams) error {
	if o.data == "" {
		return usagef("serve needs --data DIR")
	}
	if o.leaseSeconds < 2 || o.leaseSeconds > 86400 {
		return usagef("--lease-seconds is %d, must be from 2 to 86400", o.leaseSeconds)
	}
	if o.retainDays < 0 || o.retainDays > 36500 {
		return usagef("--retain-days is %d, must be from 0 to 36500", o.retainDays)
	}
	if err := o.ca.check(); err != nil {
		return err
	}
	postgres, err := o.postgres()
	if err != nil {
		return err
	}
	users, err := readRecipients(o.userPINRecipients)
	if err != nil {
		return err
	}
	officers, err := readRecipients(o.soPINRecipients)
	if err != nil {
		return err
	}
	makers, err := readMakers(o.tpmMakers)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(s.err, nil))
	authority, closeCA, err := o.ca.open(log)
	if err != nil {
		return err
	}
	err = serve(ctx, s, central.Config{
		DataDir: o.data, Postgres: postgres, CA: authority, StationAddr: o.listen, AdminAddr: o.adminListen, ServerNames: o.names,
		UserPINRecipients: users, SOPINRecipients: officers, TPMMakers: makers, LeaseBase: time.Duration(o.leaseSeconds) * time.Second, RetainDays: o.retainDays,
		CalendarFile: o.calendar,
		Logger:       log, Version: buildinfo.Version(),
	})
	return errors.Join(err, closeCA()) // after the server, which may still ask it
}

func serve(ctx context.Context, s streams, cfg central.Config) error {
	srv, err := central.New(ctx, cfg)
	if err != nil {
		return err
	}
	remove, err := srv.WriteAddresses()
	if err != nil {
		return errors.Join(err, srv.Close())
	}
	_, err = fmt.Fprintf(s.out, "stations: %s\nadministration: %s\n", srv.StationURL(), srv.AdminURL())
	if err != nil {
		return errors.Join(fmt.Errorf("print the addresses: %w", err), remove(), srv.Close())
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go spare(serving, spareLook, srv.Connected)
	// Who started it may go on with it now: the listeners are open, and what asks on this machine
	// finds them. A manager that cannot be told keeps nobody from work.
	manager, err := systemd.New(os.Getenv, os.Getpid())
	if err := errors.Join(err, manager.Ready()); err != nil {
		cfg.Logger.Warn("the service manager is not told", "error", err)
	}
	return errors.Join(srv.Serve(ctx), remove(), manager.Close())
}

func readRecipients(paths []string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, path := range paths {
		certs, err := readCertificates("recipient", path)
		if err != nil {
			return nil, err
		}
		out = append(out, certs[0])
	}
	return out, nil
}

func readMakers(paths []string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, path := range paths {
		certs, err := readCertificates("TPM maker", path)
		if err != nil {
			return nil, err
		}
		out = append(out, certs...)
	}
	return out, nil
}

// readCertificates reads at least one certificate of a PEM file.
func readCertificates(what, path string) ([]*x509.Certificate, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxPEM {
		return nil, fmt.Errorf("read %s %s: not a regular file of at most %d bytes", what, path, maxPEM)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read %s %s: %w", what, path, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read %s %s: it holds no certificate in PEM", what, path)
	}
	return out, nil
}
