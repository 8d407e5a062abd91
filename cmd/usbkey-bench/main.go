// Command usbkey-bench measures what usbkeyd needs for a token beside the least that a
// program could need and beside a loop of command-line tools, in turn in one run, and says
// which bars are met. scripts/bench builds and starts it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// enoughPairs is how many pairs a figure takes that is written down.
	enoughPairs = 10
	// wholeHub is how many tokens a station is built for.
	wholeHub = 64
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "usbkey-bench:", err)
		os.Exit(1)
	}
}

// options are what a person chooses.
type options struct {
	bin    string
	dir    string
	memory string
	module string
	pairs  int
	tokens int
	series []string
	json   string
	from   string
	doc    string
	plot   string
}

func parse(args []string, errOut io.Writer) (options, error) {
	o := options{}
	var chosen string
	names := strings.Join(seriesNames(), ",")
	flags := flag.NewFlagSet("usbkey-bench", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&o.bin, "bin", "bin", "`folder` with usbkeyd, usbkey-central and what scripts/bench builds beside them")
	flags.StringVar(&o.dir, "dir", "", "an empty `folder` for journals, servers and logs (default: a temporary one)")
	flags.StringVar(&o.memory, "memory", "/dev/shm", "`folder` below which the tokens' directories are made")
	flags.StringVar(&o.module, "module", "/usr/lib/softhsm/libsofthsm2.so", "SoftHSM's `module`")
	flags.IntVar(&o.pairs, "pairs", enoughPairs, "how many times each side is run")
	flags.IntVar(&o.tokens, "tokens", wholeHub, "how many tokens a side makes at a time")
	flags.StringVar(&chosen, "series", names, "which of the `series`")
	flags.StringVar(&o.json, "json", "", "write every run to `file`")
	flags.StringVar(&o.from, "from", "", "measure nothing, and take the runs of `file`, which --json wrote")
	flags.StringVar(&o.doc, "doc", "", "write the document to `file`")
	flags.StringVar(&o.plot, "plot", "", "write the plot (SVG) to `file`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.series = strings.Split(chosen, ",")
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case o.pairs < 1 || o.pairs > 100:
		return o, fmt.Errorf("--pairs %d: want 1 to 100", o.pairs)
	case o.tokens < 1 || o.tokens > wholeHub:
		return o, fmt.Errorf("--tokens %d: want 1 to %d", o.tokens, wholeHub)
	case (o.doc == "") != (o.plot == ""):
		return o, errors.New("--doc and --plot belong together: the one shows the other")
	case o.doc != "" && o.from == "" && (o.pairs < enoughPairs || chosen != names || o.tokens != wholeHub):
		return o, fmt.Errorf("--doc: a document wants all series with %d tokens and at least %d pairs", wholeHub, enoughPairs)
	}
	for _, name := range o.series {
		if !slices.Contains(seriesNames(), name) {
			return o, fmt.Errorf("--series %s: want some of %s", chosen, names)
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	var report Report
	if o.from != "" {
		text, err := os.ReadFile(o.from)
		if err == nil {
			err = json.Unmarshal(text, &report)
		}
		if err != nil {
			return err
		}
	} else {
		report, err = o.measure(ctx, progress)
		if err := errors.Join(err, o.keep(report)); err != nil {
			return err
		}
	}
	if o.doc != "" {
		if err := report.document(o.doc, o.plot); err != nil {
			return err
		}
	}
	return report.printBars(out)
}

// keep writes the runs down; those of the series that came to their end, when one did not.
func (o options) keep(r Report) error {
	if o.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(text, '\n'), 0o600)
}

// measure runs all series, one after the other.
func (o options) measure(ctx context.Context, progress io.Writer) (report Report, err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "usbkey-bench-"); err != nil {
			return Report{}, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return Report{}, err
	}
	if report.Machine, err = machine(o.bin); err != nil {
		return Report{}, err
	}
	report.At, report.Pairs, report.Tokens = time.Now().UTC(), o.pairs, o.tokens
	b, err := newBench(o, progress)
	if err != nil {
		return Report{}, err
	}
	for _, s := range allSeries(o.tokens) {
		if !slices.Contains(o.series, s.name) {
			continue
		}
		done, err := b.interleave(ctx, s)
		if err != nil {
			return report, fmt.Errorf("%s: %w", s.name, err)
		}
		report.Series = append(report.Series, done)
	}
	report.Took = time.Since(report.At)
	return report, nil
}
