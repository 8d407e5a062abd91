package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/buildinfo"
	"github.com/usbkeyd/usbkeyd/internal/doctor"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

type doctorOptions struct {
	streams
	load   func() (*config.Station, error)
	shutIn func() error
	bundle string
	format output.Format
}

func newDoctor(s streams, load func() (*config.Station, error), shutIn func() error) *cobra.Command {
	o := &doctorOptions{streams: s, load: load, shutIn: shutIn}
	c := &cobra.Command{
		Use: "doctor", Short: "Look at everything that a station needs, and say how to mend it", Args: noArgs,
		Long: `Looks at the configuration, the station's certificate and TPM, the central servers and
their clocks, the recipients of PINs, modules and pcscd, the state folder, the disk, the
journal and its record, printers of PIN mailers, and core dumps; says what is wrong, and
how to mend each. Nothing is changed. It may run beside the daemon, as the same user.

With --bundle, FILE also gets what may be handed to others who help (ZIP): codes,
numbers and words of the program, no secret, name, address, path, serial or id.

Exit code 3 says that something is wrong; 5, that it is the configuration, and then
hardly anything else was looked at.`,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context()) },
	}
	c.Flags().StringVar(&o.bundle, "bundle", "", "also write a support bundle to `FILE`, which must not be there yet")
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o *doctorOptions) run(ctx context.Context) error {
	// The daemon does the same first; whether it works is one of the questions.
	if err := o.shutIn(); err != nil {
		return err
	}
	station, found := checkConfiguration(o.load)
	facts := doctor.Facts{Machine: doctor.Machine{
		Program: buildinfo.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Build: buildinfo.Options(),
	}, Jobs: []doctor.Job{}}
	code := exitUnfinished
	if station == nil {
		code = exitConfig
	} else {
		found = append(found, examine(ctx, station)...)
		facts.Station = shapeOf(station)
		jobs, err := bundledJobs(station)
		if err != nil && o.bundle != "" {
			_, _ = o.words.Fprintln(o.err, "The bundle has no jobs:", err)
		}
		facts.Jobs = append(facts.Jobs, jobs...)
	}
	found = append(found, doctor.CoreDumps())
	facts.Findings = doctor.Bundled(found)
	if o.bundle != "" {
		if err := writeBundle(o.bundle, facts); err != nil {
			return err
		}
	}
	table := output.Rows{Header: []string{"CHECK", "IS", "FOUND", "WHAT TO DO"}}
	for _, f := range found {
		table.Rows = append(table.Rows, []string{o.words.Told(f.Check), o.words.Name("doctor", string(f.State)), o.words.Told(f.Found), o.words.Told(f.Mend)})
	}
	if err := o.print(o.format, table, found); err != nil {
		return err
	}
	if doctor.Worst(found) == doctor.Wrong {
		return &codeError{code, errors.New("something is wrong at this station")}
	}
	return nil
}

func writeBundle(path string, facts doctor.Facts) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("--bundle: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return doctor.WriteBundle(f, facts)
}

// shapeOf is what a bundle may hold of a configuration.
func shapeOf(station *config.Station) doctor.Station {
	s := doctor.Station{
		Tier: station.Identity.Tier, Servers: len(station.Central.URLs), Modules: len(station.Modules),
		OwnProfiles: len(station.TokenProfiles) - len(config.BuiltinTokenProfiles()), Algorithms: []string{}, Deliveries: []string{},
		UserPINOpener: len(station.Recipients.UserPIN), SOPINOpeners: len(station.Recipients.SOPIN),
	}
	for _, p := range station.Products { // both are words of ours, as the configuration was checked
		s.Algorithms, s.Deliveries = append(s.Algorithms, p.Key.Algorithm), append(s.Deliveries, p.UserPIN.Delivery)
	}
	return s
}

// bundledJobs is what a bundle may hold of a journal.
func bundledJobs(station *config.Station) (out []doctor.Job, err error) {
	_, err = besideDaemon(station, func(j *provision.Journal) error {
		all, err := j.All()
		for i, r := range all {
			out = append(out, doctor.Job{Place: i + 1, State: string(r.State), Step: string(r.Step), Waiting: string(r.Waiting), Seconds: r.Busy.Seconds()})
		}
		return err
	})
	return out, err
}
