// Command usbkey-load puts the load of many stations on usbkey-central, checks that
// nothing was issued twice and nothing lost, and prints what was measured. scripts/load
// builds and starts it.
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
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/usbkeyd/usbkeyd/csr/envelope"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	envelope.ChooseAES256()
	// Its memory is not what is measured; its processor time is taken from the servers'.
	debug.SetGCPercent(400)
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "usbkey-load:", err)
		os.Exit(1)
	}
}

// options are what a person chooses.
type options struct {
	server    string
	dir       string
	store     string
	nodes     int
	stations  []int
	units     int
	orderSize int
	rate      int
	settle    time.Duration
	json      string
}

func parse(args []string, errOut io.Writer) (options, error) {
	o := options{}
	var stations string
	flags := flag.NewFlagSet("usbkey-load", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&o.server, "server", "bin/usbkey-central", "the server's `program`")
	flags.StringVar(&o.dir, "dir", "", "an empty `folder` for the servers' data and logs (default: a temporary one)")
	flags.StringVar(&o.store, "store-file", "", "`file` with the URL of a PostgreSQL for the servers; it must be empty, and one number of stations is measured")
	flags.IntVar(&o.nodes, "nodes", 1, "how many servers; more than one want --store-file")
	flags.StringVar(&stations, "stations", "1000", "how many stations; several `numbers`, such as 10,100,1000, are measured one after the other")
	flags.IntVar(&o.units, "units", 10000, "how many units for each number of stations")
	flags.IntVar(&o.orderSize, "order-size", 10, "how many units an order of the backlog has")
	flags.IntVar(&o.rate, "rate", 50, "how many orders of one unit are sent each second to stations that wait")
	flags.DurationVar(&o.settle, "settle", 30*time.Second, "how `long` all stations poll before memory is measured; a poll takes 25 s")
	flags.StringVar(&o.json, "json", "", "write everything that was measured to `file`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	for _, text := range strings.Split(stations, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 4000 {
			return o, fmt.Errorf("--stations %s: want numbers from 1 to 4000", stations)
		}
		o.stations = append(o.stations, n)
	}
	switch {
	case o.units < 100 || o.units > 100_000:
		return o, fmt.Errorf("--units %d: want 100 to 100000", o.units)
	case o.orderSize < 1 || o.orderSize > 500:
		return o, fmt.Errorf("--order-size %d: want 1 to 500", o.orderSize)
	case o.rate < 1 || o.rate > 1000:
		return o, fmt.Errorf("--rate %d: want 1 to 1000", o.rate)
	case o.nodes < 1 || o.nodes > 4 || o.nodes > 1 && o.store == "":
		return o, fmt.Errorf("--nodes %d: want 1, or up to 4 with --store-file", o.nodes)
	case o.store != "" && len(o.stations) > 1:
		return o, errors.New("--store-file is for one number of stations")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "usbkey-load-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	report := Report{At: time.Now().UTC(), Store: "sqlite", Nodes: o.nodes, Units: o.units, OrderSize: o.orderSize, RatePerSecond: o.rate}
	if o.store != "" {
		report.Store = "postgres"
	}
	if report.FsyncsPerSecond, err = fsyncs(o.dir); err != nil {
		return err
	}
	for _, n := range o.stations {
		m, err := measure(ctx, o, n, filepath.Join(o.dir, strconv.Itoa(n)), progress)
		if err != nil {
			return fmt.Errorf("%d stations: %w", n, err)
		}
		report.Rows = append(report.Rows, m)
	}
	if o.json != "" {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(text, '\n'), 0o600); err != nil {
			return err
		}
	}
	if err := report.print(out); err != nil {
		return err
	}
	return report.wrong()
}

// fsyncs is how many writes of 4 KB to a file in dir, each synced, one second takes.
func fsyncs(dir string) (perSecond float64, err error) {
	f, err := os.CreateTemp(dir, "fsync-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 4096)
	begun, n := time.Now(), 0
	for ; time.Since(begun) < time.Second; n++ {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}
