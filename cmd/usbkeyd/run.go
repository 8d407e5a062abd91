package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/buildinfo"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/provision"
	"golang.org/x/term"
)

type runOptions struct {
	streams
	config *string
	load   func() (*config.Station, error)
	shutIn func() error
	drain  bool
	junit  string
	log    string
	level  logLevel
	// managed says that standard error is nobody's, see underManager.
	managed bool
	// alarmPatience is agent.Config's, 0 for the default.
	alarmPatience time.Duration
}

func newRun(s streams, path *string, load func() (*config.Station, error), shutIn func() error) *cobra.Command {
	o := &runOptions{streams: s, config: path, load: load, shutIn: shutIn}
	c := &cobra.Command{
		Use:   "run",
		Short: "Write keys: the daemon itself",
		Long: `Write keys until stopped (SIGTERM or Ctrl-C): each job comes to the end of its
step and is parked, and the next start goes on from there. With --drain, return
once no work is left that this station can do now.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return underManager(c.Context(), func(ctx context.Context, managed bool) error {
				o.managed = managed
				return o.run(ctx)
			})
		},
	}
	c.Flags().BoolVar(&o.drain, "drain", false, "return once no work is left")
	c.Flags().StringVar(&o.junit, "junit", "", "write a JUnit report of the units to `file` at the end")
	c.Flags().StringVar(&o.log, "log", "", "write the log (JSON lines) to `file`, - for standard error (default: standard error, or usbkeyd.log in the state folder when progress is shown on a terminal, and as a service of Windows)")
	c.Flags().TextVar(&o.level, "log-level", logLevel(slog.LevelInfo), "`level`: debug, info, warn or error")
	return c
}

func (o *runOptions) run(ctx context.Context) (err error) {
	if err := o.shutIn(); err != nil {
		return err
	}
	station, err := o.load()
	if err != nil {
		return err
	}
	if o.junit != "" {
		if err := canWriteJUnit(o.junit); err != nil {
			return err
		}
	}
	var interactive bool
	if f, ok := o.err.(*os.File); ok {
		interactive = term.IsTerminal(int(f.Fd()))
	}
	// The state folder comes first: the log may live there.
	tpm := stationTPM(station)
	defer closeTPM(tpm)
	st, err := openStationState(station, tpm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	logTo, closeLog, err := o.openLog(station.StateDir, interactive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	log := slog.New(slog.NewJSONHandler(logTo, &slog.HandlerOptions{Level: slog.Level(o.level)})).With("station", station.Name)

	progress := newProgress(o.words, o.err, interactive, o.drain)
	observe := progress.observe
	var records *unitRecord
	if o.junit != "" {
		records = newUnitRecord()
		observe = func(p provision.Progress) {
			progress.observe(p)
			records.observe(p)
		}
	}
	taught, err := floor.OpenPlaces(station)
	if err != nil {
		return err
	}
	operators, err := newPage(station, st, taught, o.drain, log)
	if err != nil {
		return err
	}
	if operators != nil {
		defer func() { err = errors.Join(err, operators.Close()) }()
		work := observe
		observe = func(p provision.Progress) {
			work(p)
			operators.Observe(p)
		}
	}
	if err := o.recordStart(st.journal, string(station.Identity.Tier), log); err != nil {
		return err
	}
	post, products := newVitals(station, st.journal), &shelf{}
	told := observe
	observe = func(p provision.Progress) {
		told(p)
		post.observe(p)
	}
	a, closeAgent, err := newAgent(station, tpm, st, log, products, post, observe)
	if err != nil {
		return err
	}
	defer closeAgent()
	a.Order, a.Paused = taught.Order, taught.Going
	a.Drain, a.AlarmPatience = o.drain, cmp.Or(o.alarmPatience, a.AlarmPatience)
	if operators != nil {
		end, err := operators.Begin(ctx, a)
		if err != nil {
			return err
		}
		defer end()
	}
	endVitals, err := post.begin(ctx, station.Metrics.Port, log)
	if err != nil {
		return err
	}
	defer endVitals()
	manager, err := openManager()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, manager.Close()) }()
	defer manage(ctx, post, manager, log)()
	if !interactive { // there the signal means that the terminal is gone
		again := &reloader{load: o.load, running: station, products: products, reconfigure: a.Reconfigure, manager: manager, log: log}
		again.record = func() error { return o.recordStart(st.journal, string(station.Identity.Tier), log) }
		defer again.onSignal(ctx)()
	}
	for _, n := range moduleNotes(station) {
		log.Warn("module", "module", n.Module, "code", n.Code, "note", n.Text)
	}
	log.Info("usbkeyd starts", "version", buildinfo.Version(), "config", *o.config, "identity", station.Identity.Tier, "modules", len(station.Modules), "drain", o.drain)
	begun := time.Now()
	summary, err := a.Run(ctx)
	progress.close()
	log.Info("usbkeyd ends", "finished", summary.Finished, "failed", summary.Failed, "quarantined", summary.Quarantined, "waiting", len(summary.Waiting), "alarms", len(summary.Alarms))
	var failures []error // the first decides on the exit code
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, context.Canceled): // asked to stop
	default:
		failures = append(failures, &codeError{centralOr(err), err})
	}
	failed := len(failures) > 0
	if records != nil {
		if err := records.writeJUnit(o.junit, time.Since(begun)); err != nil {
			failures = append(failures, &codeError{exitFailure, err})
		}
	}
	return errors.Join(append(failures, o.conclude(ctx, summary, failed))...)
}

// recordStart puts the start, its configuration and where the station's key is on record.
func (o *runOptions) recordStart(journal *provision.Journal, tier string, log *slog.Logger) error {
	text, err := os.ReadFile(*o.config)
	if err != nil {
		return &codeError{exitConfig, err}
	}
	sum := sha256.Sum256(text)
	changed, err := journal.Started(hex.EncodeToString(sum[:]), buildinfo.Version(), tier)
	if changed {
		log.Info("the configuration is another one than at the last start", "sha256", hex.EncodeToString(sum[:]))
	}
	return err
}

// centralOr tells a central server out of reach from other failures of the agent.
func centralOr(err error) int {
	switch {
	case errors.Is(err, audit.ErrBroken):
		return exitRecord
	case errors.Is(err, provision.ErrJournal):
		return exitFailure
	}
	return exitCentral
}

// conclude says how it ended and what a person has to do. One that failed may not have come so far
// as to look for tokens.
func (o *runOptions) conclude(ctx context.Context, s agent.Summary, failed bool) error {
	_, _ = o.words.Fprintf(o.err, "%d finished, %d failed, %d quarantined, %d waiting\n", s.Finished, s.Failed, s.Quarantined, len(s.Waiting))
	for _, u := range s.Unlisted {
		_, _ = o.words.Fprintf(o.err, "  The token in %s is not written: %s.\n    %s\n", u.Token.Module, o.words.Told(u.Err.Error()), o.words.Told(unlistedHint))
	}
	if o.drain && !failed && s.FreeTokens == 0 && s.Finished == 0 && len(s.Alarms) == 0 {
		_, _ = o.words.Fprintln(o.err, "No blank token is plugged in, so nothing was claimed; see usbkeyd tokens list.")
	}
	for _, w := range s.Waiting {
		if w.Reason != "" && ctx.Err() == nil {
			_, _ = o.words.Fprintf(o.err, "  %s waits at %s: %s\n    %s\n", w.Job.UnitID(), o.words.Name("step", string(w.Step)), o.words.Told(w.Reason), o.words.Told(w.Hint))
		}
	}
	printAlarms(o.words, o.err, s.Alarms)
	if ctx.Err() != nil {
		return nil // asked to stop: what is parked goes on at the next start
	}
	if s.Failed+s.Quarantined+len(s.Waiting)+s.Refused == 0 && len(s.Alarms) > 0 {
		// Tokens that cannot be seen may have units to wait for them.
		return &codeError{exitUnfinished, errors.New("the station is under an alarm, so there may be work that it could not do")}
	}
	if s.Failed+s.Quarantined+len(s.Waiting)+s.Refused > 0 {
		return &codeError{exitUnfinished, errors.New("not every unit is finished; see usbkeyd jobs list")}
	}
	return nil
}

// openLog opens where the log goes.
func (o *runOptions) openLog(stateDir string, interactive bool) (io.Writer, func() error, error) {
	nothing := func() error { return nil }
	path := o.log
	if path == "-" || path == "" && !interactive && !o.managed {
		return o.err, nothing, nil
	}
	if path == "" {
		path = filepath.Join(stateDir, "usbkeyd.log")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nothing, fmt.Errorf("log: %w", err)
	}
	return f, f.Close, nil
}

// newAgent wires the daemon together; its products are those on the shelf from now on, and
// the vitals become its.
func newAgent(station *config.Station, tpm *identity.TPM, st *state, log *slog.Logger, products *shelf, post *vitals, observe func(provision.Progress)) (*agent.Agent, func(), error) {
	cat, err := newCatalogue(station)
	if err != nil {
		return nil, nil, err
	}
	products.Store(cat)
	if _, err := newMailers(station, cups.Supported); err != nil {
		return nil, nil, err
	}
	labels, err := newLabels(station, cups.Supported)
	if err != nil {
		return nil, nil, err
	}
	profile, err := tokenProfiles(station)
	if err != nil {
		return nil, nil, err
	}
	anchors, err := readCertificates("certificateTrust", station.CertificateTrust)
	if err != nil {
		return nil, nil, err
	}
	central, record, renewal, err := newCentral(station, tpm)
	if err != nil {
		return nil, nil, err
	}
	keys, err := provision.NewKeyGate(st.journal)
	if err != nil {
		return nil, nil, err
	}
	modules, closeModules, err := instances(station, log, post.moduleFailed)
	if err != nil {
		return nil, nil, err
	}
	post.agent = agent.New(agent.Config{
		Central: central, Renewal: renewal, Instances: modules,
		Runner: provision.Runner{
			Journal: st.journal, Vault: st.vault, Keys: keys, Anchors: anchors,
			Product: products.product, TokenProfile: profile, DeliveredOnly: station.Stock.DeliveredOnly, Now: time.Now, Settle: settle,
		},
		Label: products.label, Products: cat.codes, Capabilities: capabilities(station),
		UserPINRecipients: station.Recipients.UserPIN, SOPINRecipients: station.Recipients.SOPIN,
		InstanceID: st.instanceID, BootID: bootID(), Version: buildinfo.Version(), Log: log, Observe: observe, Stopped: post.stopped, Probe: probePCSC, Record: record, Keep: station.Journal.Keep,
		PrintLabel: labels.oneAtATime(station),
	})
	return post.agent, closeModules, nil
}
