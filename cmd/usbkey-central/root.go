package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/buildinfo"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/helpcmd"
	"github.com/usbkeyd/usbkeyd/internal/manpage"
)

// Exit codes, documented in the root command's help.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3
	exitHelp    = `Exit codes:
  0  all is well
  1  the command failed
  2  wrong usage
  3  the server understood and refused`
)

// usageError is a mistake on the command line.
type usageError struct{ err error }

// Error implements error.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *usageError) Unwrap() error { return e.err }

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// connect makes the client that administration commands use.
type connect func() (*adminclient.Client, error)

// execute runs the command line and returns the exit code.
func execute(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(streams{in, out, errOut})
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(errOut, "usbkey-central:", err)
	}
	return exitCode(err)
}

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var usage *usageError
	var refused *api.Problem
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &refused) && refused.Type != "" && refused.Status < 500:
		return exitRefused
	}
	return exitFailure
}

func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "usbkey-central",
		Short: "Dispatch orders to issuing workstations",
		Long: `usbkey-central takes approved orders, hands their units to issuing workstations
(stations), has the keys certified that stations make, and takes the results.

"serve" runs the server, "recover" comes before it when its store was restored from a
backup, "ca check" looks at its CA, "calendar" at its holidays. All other commands talk to a
running server; they find it by --data, or by --admin-url and --token-file.

` + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w; run %q for the flags there are", err, c.CommandPath()+" --help")
	})
	var where serverFlags
	root.PersistentFlags().StringVar(&where.data, "data", "", "data `directory` of the server")
	root.PersistentFlags().StringVar(&where.adminURL, "admin-url", "", "`URL` of the administration, such as http://127.0.0.1:8444/v1")
	root.PersistentFlags().StringVar(&where.tokenFile, "token-file", "", "`file` with the administration token")
	root.AddCommand(
		newServe(s, &where.data),
		newRecover(s, &where.data),
		group("orders", "Submit orders and look at them",
			newOrdersSubmit(s, where.connect), newOrdersList(s, where.connect), newOrdersShow(s, where.connect),
			newOrdersFlag(s, where.connect, "hold", "Give no new leases of an order", func(f *api.OrderFlags) { f.Hold = true }),
			newOrdersFlag(s, where.connect, "release", "Let a held order go on", func(f *api.OrderFlags) { f.Hold = false }),
			newOrdersFlag(s, where.connect, "urgent", "Let an order go before all that are not urgent", func(f *api.OrderFlags) { f.Urgent = true }),
			newOrdersFlag(s, where.connect, "not-urgent", "Let an order wait for its turn", func(f *api.OrderFlags) { f.Urgent = false }),
			newOrdersCancel(s, where.connect)),
		group("units", "Look at units: one key of an order each",
			newUnitsList(s, where.connect), newUnitsSealedPIN(s, where.connect), newUnitsHistory(s, where.connect),
			newUnitsResolve(s, where.connect), newUnitsReissue(s, where.connect), newUnitsReturn(s, where.connect)),
		group("escrows", "Look at the SO PINs in escrow, and fetch one for the recovery officer", newEscrowsList(s, where.connect), newEscrowsFetch(s, where.connect)),
		group("decisions", "Approve what another person asked for", newDecisionsList(s, where.connect), newDecisionsApprove(s, where.connect)),
		group("events", "Look at what other systems are told", newEventsList(s, where.connect)),
		group("audit", "Look at what stations have on record", newAuditVerify(s, where.connect, &where.data), newAuditShow(s, where.connect), newAuditExport(s, where.connect)),
		group("ca", "Look at the CA of the customers' certificates", newCACheck(s, &where.data)),
		group("calendar", "Look at the working days that due times are computed from", newCalendarShow(s), newCalendarCheck(s)),
		group("certificates", "Look at what the CA issued", newCertificatesList(s, where.connect)),
		group("station", "Enrol issuing workstations and look at them",
			newStationInvite(s, where.connect), newStationApprove(s, where.connect), newStationPending(s, where.connect),
			newStationAdd(s, where.connect), newStationList(s, where.connect),
			newStationDrain(s, where.connect), newStationReset(s, where.connect), newStationRevoke(s, where.connect)),
		buildinfo.NewCommand(s.out, "usbkey-central", api.ProtocolVersion, noArgs),
		manpage.NewCommand(s.out, noArgs),
	)
	helpcmd.Strict(root, noArgs)
	return root
}

// serverFlags say where the server is.
type serverFlags struct{ data, adminURL, tokenFile string }

func (f *serverFlags) connect() (*adminclient.Client, error) {
	switch {
	case f.adminURL != "" && f.tokenFile != "":
		return adminclient.FromTokenFile(f.adminURL, f.tokenFile)
	case f.adminURL != "" || f.tokenFile != "":
		return nil, usagef("--admin-url and --token-file go together")
	case f.data != "":
		return adminclient.FromDataDir(f.data)
	}
	return nil, usagef("say which server: --data DIR, or --admin-url and --token-file")
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(children...)
	return c
}

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// Cobra's own argument checks, with an exit code of usage.

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s does not take %q; run %q", c.CommandPath(), args[0], c.CommandPath()+" --help")
	}
	return nil
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s takes %s; run %q", c.CommandPath(), what, c.CommandPath()+" --help")
		}
		return nil
	}
}
