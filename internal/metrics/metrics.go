// Package metrics is how a station is watched by machines: numbers for Prometheus, and whether
// it is healthy and ready, on this machine's loopback addresses. It must not know where the
// numbers come from, and lets no serial, unit or person into a label: every label has few
// values, which the configuration or the program bounds.
package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// JobKey is where unfinished jobs stand.
type JobKey struct{ State, Step string }

// Snapshot is what the station is like when somebody asks.
type Snapshot struct {
	// Jobs are the unfinished ones.
	Jobs map[JobKey]int
	// Late is how many of them are past their due time.
	Late int
	// DueLeft is the time left to the earliest due time of them, below 0 when it is past;
	// LeaseLeft that of the shortest lease that ends by the clock. Nil for none.
	DueLeft, LeaseLeft *time.Duration
	// Reports wait in the outbox.
	Reports int
	// StockTokens were delivered, StockBlanks of them are blank.
	StockTokens, StockBlanks int
	// BlankTokens are plugged in.
	BlankTokens int
	// Alarms are the codes of those that stand.
	Alarms []string
	// Modules tells by name whether a module could be read at the last look.
	Modules map[string]bool
	// LoopAge is how long ago the loop that decides went on.
	LoopAge time.Duration
	// Answered is when the central server last answered; zero for never.
	Answered time.Time
	// JournalWritable tells how the last try ended.
	JournalWritable bool
	// JournalBytes is the size of the journal's files, DiskFree what is left beside them;
	// negative for unknown.
	JournalBytes, DiskFree int64
	// CompactedJobs and CompactedEntries were taken out of the journal since the start.
	CompactedJobs, CompactedEntries int64
	// Healthy and Ready are those of the two pages.
	Healthy, Ready bool
}

// maxModels is how many models of token are told apart: what a token calls itself is its
// maker's to choose.
const maxModels = 16

// otherModel stands for all that come after them.
const otherModel = "other"

// Metrics are a station's. They are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	read     func() Snapshot

	steps    *prometheus.HistogramVec
	ended    *prometheus.CounterVec
	late     prometheus.Counter
	pins     *prometheus.CounterVec
	failures *prometheus.CounterVec

	mu     sync.Mutex
	models map[string]bool
}

// New makes them; read is called for every scrape.
func New(version string, read func() Snapshot) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), read: read, models: map[string]bool{},
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "usbkeyd_step_seconds", Help: "How long steps of jobs took, by the token's model.",
			Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 180, 600},
		}, []string{"model", "step"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usbkeyd_jobs_ended_total", Help: "Jobs that came to an end, by how and at which step.",
		}, []string{"state", "step"}),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "usbkeyd_jobs_finished_late_total", Help: "Jobs that were finished after their due time.",
		}),
		pins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usbkeyd_pin_refusals_total", Help: "Jobs stopped for a PIN: last-try (not tried, because it could spend the token's last try), incorrect, locked, factory (the factory's does not open the token).",
		}, []string{"kind"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usbkeyd_module_failures_total", Help: "Module processes that crashed, or hung and were killed.",
		}, []string{"module", "kind"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "usbkeyd_build_info", Help: "1, labelled with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	for _, kind := range PINRefusals() {
		m.pins.WithLabelValues(kind) // so that the first one is an increase
	}
	m.registry.MustRegister(m.steps, m.ended, m.late, m.pins, m.failures, build, (*now)(m),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Kinds of PIN refusals.
const (
	PINLastTry   = "last-try"
	PINIncorrect = "incorrect"
	PINLocked    = "locked"
	PINFactory   = "factory"
)

// PINRefusals are all kinds.
func PINRefusals() []string { return []string{PINLastTry, PINIncorrect, PINLocked, PINFactory} }

// How a module's process may fail.
const (
	ModuleCrashed = "crashed"
	ModuleHung    = "hung"
)

// Expect names the modules, and the states and steps in which jobs end badly: the first time
// is an increase only of a number that was there before.
func (m *Metrics) Expect(modules, states, steps []string) {
	for _, name := range modules {
		m.failures.WithLabelValues(name, ModuleCrashed)
		m.failures.WithLabelValues(name, ModuleHung)
	}
	for _, state := range states {
		for _, step := range steps {
			m.ended.WithLabelValues(state, step)
		}
	}
}

// Step tells how long a step took on a token of a model.
func (m *Metrics) Step(model, step string, took time.Duration) {
	model = strings.ToValidUTF8(model, "?") // else it could be no label
	m.mu.Lock()
	switch {
	case m.models[model]:
	case len(m.models) < maxModels:
		m.models[model] = true
	default:
		model = otherModel
	}
	m.mu.Unlock()
	m.steps.WithLabelValues(model, step).Observe(took.Seconds())
}

// Ended tells that a job has come to its end at a step; late, that it finished after its due time.
func (m *Metrics) Ended(state, step string, late bool) {
	m.ended.WithLabelValues(state, step).Inc()
	if late {
		m.late.Inc()
	}
}

// PINRefused counts a job that stopped for a PIN.
func (m *Metrics) PINRefused(kind string) { m.pins.WithLabelValues(kind).Inc() }

// ModuleFailed counts a process of a module that crashed or hung.
func (m *Metrics) ModuleFailed(module, kind string) { m.failures.WithLabelValues(module, kind).Inc() }

// now collects what is as it is now.
type now Metrics

// Describe implements prometheus.Collector. Nothing is said ahead of what there is: which
// series there are depends on the jobs and alarms of the moment.
func (n *now) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (n *now) Collect(out chan<- prometheus.Metric) {
	s := n.read()
	gauge := func(name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.GaugeValue, value, values...)
	}
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	for key, n := range s.Jobs {
		gauge("usbkeyd_jobs", "Unfinished jobs, by state and step.", float64(n), "state", key.State, "step", key.Step)
	}
	gauge("usbkeyd_jobs_late", "Unfinished jobs that are past their due time.", float64(s.Late))
	if s.DueLeft != nil {
		gauge("usbkeyd_due_left_seconds", "Time to the earliest due time of an unfinished job; below 0 when it is past.", s.DueLeft.Seconds())
	}
	if s.LeaseLeft != nil {
		gauge("usbkeyd_lease_left_seconds", "What is left of the shortest lease that ends by the clock; below 0 when it ran out.", s.LeaseLeft.Seconds())
	}
	gauge("usbkeyd_outbox_reports", "Reports that the central server has not answered.", float64(s.Reports))
	gauge("usbkeyd_stock_tokens", "Tokens on the list of delivered ones.", float64(s.StockTokens))
	gauge("usbkeyd_stock_blanks", "Delivered tokens that are still blank.", float64(s.StockBlanks))
	gauge("usbkeyd_blank_tokens", "Blank tokens that are plugged in.", float64(s.BlankTokens))
	for _, code := range slices.Compact(slices.Sorted(slices.Values(s.Alarms))) {
		gauge("usbkeyd_alarm", "1 for every kind of alarm that stands.", 1, "code", code)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Modules)) {
		gauge("usbkeyd_module_up", "1 when the module could be read at the last look.", yes(s.Modules[name]), "module", name)
	}
	gauge("usbkeyd_loop_age_seconds", "Since the loop that decides went on.", s.LoopAge.Seconds())
	if !s.Answered.IsZero() {
		gauge("usbkeyd_central_answered_timestamp_seconds", "When the central server last answered.", float64(s.Answered.UnixMilli())/1000)
	}
	gauge("usbkeyd_journal_writable", "1 when the journal could be written at the last try.", yes(s.JournalWritable))
	gauge("usbkeyd_journal_bytes", "Size of the journal's files.", float64(s.JournalBytes))
	count := func(name, help string, value int64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, float64(value))
	}
	count("usbkeyd_journal_compacted_jobs_total", "Jobs that were taken out of the journal but for what must not be forgotten.", s.CompactedJobs)
	count("usbkeyd_journal_compacted_entries_total", "Entries of the record whose lines were taken out of the journal; the central server has them.", s.CompactedEntries)
	if s.DiskFree >= 0 {
		gauge("usbkeyd_disk_free_bytes", "What is free where the journal is.", float64(s.DiskFree))
	}
	gauge("usbkeyd_healthy", "1 when /healthz says so.", yes(s.Healthy))
	gauge("usbkeyd_ready", "1 when /readyz says so.", yes(s.Ready))
}
