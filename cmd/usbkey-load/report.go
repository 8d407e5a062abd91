package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/stationload"
)

// Report is everything that was measured.
type Report struct {
	At              time.Time `json:"at"`
	Store           string    `json:"store"`
	Nodes           int       `json:"nodes"`
	Units           int       `json:"units"`
	OrderSize       int       `json:"orderSize"`
	RatePerSecond   int       `json:"ratePerSecond"`
	FsyncsPerSecond float64   `json:"fsyncsPerSecond"`
	Rows            []Row     `json:"rows"`
}

// Row is one number of stations.
type Row struct {
	Stations  int `json:"stations"`
	Installed int `json:"installed"`
	// Waiting is of orders that come one by one to stations that wait; Backlog of all
	// stations at work at once.
	Waiting Spread `json:"waiting"`
	Backlog Spread `json:"backlog"`

	ClaimsPerSecond float64 `json:"claimsPerSecond"`
	LivesPerSecond  float64 `json:"livesPerSecond"`
	// Processor time that one life costs, of all servers and of all stations.
	ServerMillisPerLife  float64 `json:"serverMillisPerLife"`
	StationMillisPerLife float64 `json:"stationMillisPerLife"`
	// LoadAverage is the machine's at the end of the backlog, everything on it included.
	LoadAverage float64 `json:"loadAverage"`

	// Resident memory of all servers with nothing to do, without stations and with all.
	ServerBytes        int64 `json:"serverBytes"`
	ServerBytesPolling int64 `json:"serverBytesPolling"`
	BytesPerStation    int64 `json:"bytesPerStation"`
	// IdleProcessor is the share of one processor that servers use while all stations poll.
	IdleProcessor float64 `json:"idleProcessor"`

	ConnectSeconds float64 `json:"connectSeconds"`
	// ReconnectSeconds is from when killed servers answer again until all stations poll.
	ReconnectSeconds float64 `json:"reconnectSeconds"`
	// ReconnectBusy is how many answers were 503 with Retry-After meanwhile, ReconnectBroken
	// how many requests had none.
	ReconnectBusy   int `json:"reconnectBusy"`
	ReconnectBroken int `json:"reconnectBroken"`

	// Wrong is what should not be, in words.
	Wrong []string `json:"wrong"`
}

// Spread is how long operations took, in milliseconds.
type Spread struct {
	Claim50  float64 `json:"claim50"`
	Claim99  float64 `json:"claim99"`
	CSR50    float64 `json:"csr50"`
	CSR99    float64 `json:"csr99"`
	Result50 float64 `json:"result50"`
	Result99 float64 `json:"result99"`
}

func spreadOf(r *stationload.Record) Spread {
	ms := func(op stationload.Operation, q float64) float64 {
		return float64(r.Quantile(op, q).Microseconds()) / 1000
	}
	return Spread{
		ms(stationload.Claim, 0.5), ms(stationload.Claim, 0.99), ms(stationload.CSR, 0.5), ms(stationload.CSR, 0.99),
		ms(stationload.Result, 0.5), ms(stationload.Result, 0.99),
	}
}

// refusals takes down what a phase in which no server was killed should not have had.
func (r *Row) refusals(record *stationload.Record) {
	if got := record.Refusals(); got.Busy > 0 || len(got.Odd) > 0 {
		r.Wrong = append(r.Wrong, fmt.Sprintf("%d answers were 503 with Retry-After, %d another 5xx, and %d requests had none: %v", got.Busy, got.Failed, got.Broken, got.Odd))
	}
}

func (r Report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(what string, value func(Row) string) {
		cells := make([]string, 0, len(r.Rows))
		for _, row := range r.Rows {
			cells = append(cells, value(row))
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t\n", what, strings.Join(cells, "\t"))
	}
	two := func(a, b float64) string { return fmt.Sprintf("%.1f / %.1f", a, b) }
	line("stations", func(r Row) string { return fmt.Sprint(r.Stations) })
	line("units INSTALLED", func(r Row) string { return fmt.Sprint(r.Installed) })
	line("claims/s", func(r Row) string { return fmt.Sprintf("%.0f", r.ClaimsPerSecond) })
	line("unit lives/s", func(r Row) string { return fmt.Sprintf("%.0f", r.LivesPerSecond) })
	line("server CPU ms/life", func(r Row) string { return fmt.Sprintf("%.2f", r.ServerMillisPerLife) })
	line("stations' CPU ms/life", func(r Row) string { return fmt.Sprintf("%.2f", r.StationMillisPerLife) })
	line("waiting: claim p50 / p99 ms", func(r Row) string { return two(r.Waiting.Claim50, r.Waiting.Claim99) })
	line("CSR", func(r Row) string { return two(r.Waiting.CSR50, r.Waiting.CSR99) })
	line("result", func(r Row) string { return two(r.Waiting.Result50, r.Waiting.Result99) })
	line("backlog: claim p50 / p99 ms", func(r Row) string { return two(r.Backlog.Claim50, r.Backlog.Claim99) })
	line("CSR", func(r Row) string { return two(r.Backlog.CSR50, r.Backlog.CSR99) })
	line("result", func(r Row) string { return two(r.Backlog.Result50, r.Backlog.Result99) })
	line("server RSS idle, MB", func(r Row) string { return fmt.Sprintf("%.1f", float64(r.ServerBytes)/(1<<20)) })
	line("with all stations polling, MB", func(r Row) string { return fmt.Sprintf("%.1f", float64(r.ServerBytesPolling)/(1<<20)) })
	line("per polling station, KB", func(r Row) string { return fmt.Sprintf("%.1f", float64(r.BytesPerStation)/1024) })
	line("server CPU while all poll, %", func(r Row) string { return fmt.Sprintf("%.1f", 100*r.IdleProcessor) })
	line("all poll again after a kill, s", func(r Row) string { return fmt.Sprintf("%.1f", r.ReconnectSeconds) })
	line("503 with Retry-After meanwhile", func(r Row) string { return fmt.Sprint(r.ReconnectBusy) })
	line("load average", func(r Row) string { return fmt.Sprintf("%.1f", r.LoadAverage) })
	_, _ = fmt.Fprintf(w, "\nstore %s, %d server(s), %d units a column, %.0f fsyncs/s\n", r.Store, r.Nodes, r.Units, r.FsyncsPerSecond)
	return w.Flush()
}

// wrong is an error if anything should not be as it is.
func (r Report) wrong() error {
	var all []string
	for _, row := range r.Rows {
		for _, w := range row.Wrong {
			all = append(all, fmt.Sprintf("%d stations: %s", row.Stations, w))
		}
	}
	if len(all) == 0 {
		return nil
	}
	const most = 20
	more := ""
	if len(all) > most {
		all, more = all[:most], fmt.Sprintf("\nand %d more", len(all)-most)
	}
	return fmt.Errorf("%s%s", strings.Join(all, "\n"), more)
}
