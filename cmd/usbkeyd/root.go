package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/signal"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/buildinfo"
	"github.com/usbkeyd/usbkeyd/internal/helpcmd"
	"github.com/usbkeyd/usbkeyd/internal/manpage"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/wording"
)

// Exit codes, documented in the root command's help.
const (
	exitOK         = 0
	exitFailure    = 1
	exitUsage      = 2
	exitUnfinished = 3
	exitCentral    = 4
	exitConfig     = 5
	exitRecord     = 6
)

const exitCodesHelp = `Exit codes:
  0  all is well
  1  the command failed
  2  wrong usage
  3  the work ended, but a unit failed, is quarantined or waits for somebody
  4  the central server cannot be reached, or does not accept this station
  5  the configuration is wrong
  6  the station's record is broken: its disk was changed or put back`

const defaultConfig = "/etc/usbkeyd/station.yaml"

// codeError carries an exit code up to main.
type codeError struct {
	code int
	err  error
}

// Error implements error.
func (e *codeError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *codeError) Unwrap() error { return e.err }

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
	words    wording.Words // of whoever reads them
}

// print prints a table in the reader's language, or value as JSON, which has no language.
func (s streams) print(format output.Format, rows output.Rows, value any) error {
	return format.Print(s.out, rows.In(s.words.Say), value)
}

// execute runs the command line and returns the exit code. shutIn is called before
// secrets are handled; it changes the process for good.
func execute(args []string, in io.Reader, out, errOut io.Writer, words wording.Words, shutIn func() error) int {
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals()...)
	defer stop()
	root := newRoot(streams{in, out, errOut, words}, shutIn)
	root.SetArgs(args)
	// Manual pages are English; their layout knows no other script.
	if c, _, err := root.Find(args); err != nil || c.Name() != "man" {
		words.Commands(root)
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(errOut, "usbkeyd:", words.Told(err.Error()))
	return exitCode(err)
}

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var code *codeError
	var field *config.FieldError
	switch {
	case errors.As(err, &code):
		return code.code
	case errors.As(err, &field), errors.Is(err, config.ErrSyntax), errors.Is(err, config.ErrInvalid):
		return exitConfig
	case errors.Is(err, audit.ErrBroken):
		return exitRecord
	case errors.Is(err, agent.ErrForbidden):
		return exitCentral
	}
	return exitFailure
}

func newRoot(s streams, shutIn func() error) *cobra.Command {
	root := &cobra.Command{
		Use:   "usbkeyd",
		Short: "Turn approved orders into finished USB keys",
		Long: `usbkeyd pulls approved orders from the central server, has each attached token
make its own key pair, installs the certificate, sets the PINs, checks
everything and reports the serial numbers.

` + exitCodesHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &codeError{exitUsage, fmt.Errorf("%w; see %q", err, c.CommandPath()+" --help")}
	})
	var path string
	root.PersistentFlags().StringVar(&path, "config", defaultConfig, "station configuration `file`")
	load := func() (*config.Station, error) {
		station, err := config.Load(path)
		if err != nil {
			err = &codeError{exitConfig, unread(path, err)}
		}
		return station, err
	}
	root.AddCommand(
		newRun(s, &path, load, shutIn),
		newConsole(s), newConfirm(s), newApprove(s),
		group("orders", "Look at orders, and what was done with them", newOrdersList(s, load), newOrdersShow(s, load)),
		newQueue(s), newBays(s), newToday(s, load), newSearch(s, load),
		group("tokens", "Look at the tokens that are plugged in", newTokensList(s, load), newTokensWatch(s, load)),
		group("jobs", "Look at what was done with each unit", newJobsList(s, load), newJobsShow(s, load), newJobsAbandon(s, load)),
		group("journal", "Keep the journal small", newJournalCompact(s, load)),
		group("audit", "Look at the record of what this station did", newAuditVerify(s, load), newAuditShow(s, load), newAuditExport(s, load)),
		group("mailers", "Print the letters that bring user PINs",
			newMailersList(s, load), newMailersPreview(s, load, shutIn), newMailersPrint(s, load, shutIn), newMailersConfirm(s, load), newMailersReprint(s, load, shutIn)),
		group("stock", "Take in delivered tokens, and look them up", newStockImport(s, load), newStockList(s, load), newStockCheck(s, load)),
		group("quarantine", "Decide about tokens that must not be used", newQuarantineList(s), newQuarantineShow(s), newQuarantineWipe(s), newQuarantineRelease(s)),
		group("pack", "Put finished keys into parcels, by scanning",
			newPackOpen(s, load), newPackScan(s, load), newPackVerify(s, load), newPackLeaveOut(s, load), newPackUndo(s, load), newPackWaybill(s, load), newPackClose(s, load),
			newPackList(s, load), newPackShow(s, load)),
		group("labels", "Write what is stuck on keys and put into parcels",
			newLabelsToken(s, load), newLabelsPackingList(s, load), newLabelsShipping(s, load), newLabelsPrint(s, load), newLabelsList(s, load), newLabelsConfirm(s, load), newLabelsSetAside(s, load)),
		group("module", "Look at a vendor's PKCS#11 library", newModuleQualify(s, shutIn)),
		group("evidence", "Signed statements about finished keys", newEvidenceExport(s, load), newEvidenceVerify(s)),
		group("sopin", "Open an SO PIN from escrow", newSOPINOpen(s, shutIn)),
		group("central", "Look at a central server", newCentralConformance(s, load)),
		newEnroll(s, load, shutIn),
		group("identity", "Look at where this station's key is", newIdentityShow(s, load)),
		group("state", "Work on the state folder", newStateReseal(s, load, shutIn)),
		group("config", "Work on the configuration", newConfigCheck(s, &path, load)),
		newDoctor(s, load, shutIn),
		newService(s, &path),
		buildinfo.NewCommand(s.out, "usbkeyd", api.ProtocolVersion, noArgs),
		manpage.NewCommand(s.out, noArgs),
	)
	completions(root, s.words, load)
	helpcmd.Strict(root, noArgs)
	return root
}

// unread says what to do where the configuration itself is not there, unlike a file that it names.
func unread(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, config.ErrInvalid) {
		return fmt.Errorf("there is no configuration %s: give --config FILE, or begin with docs/examples/station.yaml (installed as /usr/share/doc/usbkeyd/examples/station.yaml)", path)
	}
	return err
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(children...)
	return c
}
