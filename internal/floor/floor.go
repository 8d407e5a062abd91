// Package floor is what stands behind the operator's page: it makes what the page shows of the
// agent's view, the journal and the settings, and does what the page asks for, in the words of
// package console. The command line has from it what it does in the same way: looking things up
// in the books, printing letters at the desk, confirming letters and labels.
//
// It must not know the command line, how settings become printers, keys and tables, or what a
// page looks like.
package floor

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/provision"
)

// floor is what the operator's page shows: what the agent sees, with what was told of each
// job's progress since this start, and what the journal says of the jobs before.
type floor struct {
	view   func() agent.View
	alarms func() []agent.Alarm
	now    func() time.Time
	facts  console.Station // what stays the same
	// number is that of a bay, as it was taught, 0 for none; nil where nothing is.
	number func(bay string) int
	// port is the USB port of a bay, "" for not known; as number.
	port func(bay string) string

	mu   sync.Mutex
	jobs map[string]*told // by job id
	// order of the ids in jobs, oldest first.
	order []string
	// done are the units of each order that this station has finished.
	done map[string]map[string]bool
	// urgent says of each order with unfinished jobs whether it is, as the agent heard it last.
	urgent map[string]bool
	took   times
	// reports and diskFree are looked up now and then.
	reports  int
	diskFree int64
}

// told is what was last heard of a job.
type told struct {
	provision.Progress
	began time.Time // the step; zero for before this start
	since time.Time // the job; zero for before this start
	bay   string    // where it was last shown
}

// pace is what a step's time depends on; without a step, that of a whole job.
type pace struct {
	model, product string
	step           provision.StepName
}

// How much is kept: jobs, and times of a step.
const (
	keptJobs  = 512
	keptTimes = 32
)

func newFloor(facts console.Station, now func() time.Time) *floor {
	return &floor{
		now: now, facts: facts, diskFree: -1,
		jobs: map[string]*told{}, done: map[string]map[string]bool{}, urgent: map[string]bool{}, took: times{},
	}
}

// recall takes up what the journal says of the last jobs.
func (f *floor) recall(journal *provision.Journal) error {
	records, err := journal.Latest(keptJobs)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range records {
		p := provision.Progress{Job: r.Job, Token: r.Token, State: r.State, Step: r.Step, Steps: len(provision.Plan(r.Job)), Reason: r.Reason, Hint: r.Hint}
		p.Index = max(0, slices.IndexFunc(provision.Plan(r.Job), func(s provision.Step) bool { return s.Name == r.Step }))
		f.keep(p, time.Time{})
	}
	return nil
}

// observe hears of every step of every job.
func (f *floor) observe(p provision.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	before := f.jobs[p.Job.ID]
	began, since := now, time.Time{}
	if before != nil {
		since = before.since
	} else if p.State == provision.StateRunning && p.Index == 0 {
		since = now
	}
	if before != nil && before.Step == p.Step && before.State == p.State {
		began = before.began
	}
	if before != nil && before.State == provision.StateRunning && !before.began.IsZero() &&
		(p.State == provision.StateRunning && p.Index > before.Index || p.State == provision.StateFinished) {
		f.took.add(pace{p.Token.Model, p.Job.Subject.ProductCode, before.Step}, now.Sub(before.began))
	}
	if p.State == provision.StateParked {
		since = time.Time{} // what it takes from here on depends on who puts what right
	} else if p.State == provision.StateFinished && !since.IsZero() {
		f.took.add(pace{p.Token.Model, p.Job.Subject.ProductCode, ""}, now.Sub(since))
	}
	f.keep(p, began)
	f.jobs[p.Job.ID].since = since
}

// times are the last that each pace took.
type times map[pace][]time.Duration

func (t times) add(at pace, d time.Duration) {
	all := append(t[at], d)
	t[at] = all[max(0, len(all)-keptTimes):]
}

// usually is the median; 0 for none.
func (t times) usually(at pace) time.Duration {
	sorted := slices.Sorted(slices.Values(t[at]))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// keep notes what was told; f.mu is held.
func (f *floor) keep(p provision.Progress, began time.Time) {
	t := f.jobs[p.Job.ID]
	if t == nil {
		t = &told{}
		f.jobs[p.Job.ID] = t
		f.order = append(f.order, p.Job.ID)
		for len(f.order) > keptJobs {
			f.drop(f.order[0])
			f.order = f.order[1:]
		}
	}
	t.Progress, t.began = p, began
	if p.State == provision.StateFinished {
		order := p.Job.Subject.OrderID
		if f.done[order] == nil {
			f.done[order] = map[string]bool{}
		}
		f.done[order][p.Job.UnitID()] = true
	}
}

// drop forgets a job, and its order with the last of its jobs. f.mu is held.
func (f *floor) drop(id string) {
	order := f.jobs[id].Job.Subject.OrderID
	delete(f.jobs, id)
	for _, t := range f.jobs {
		if t.Job.Subject.OrderID == order {
			return
		}
	}
	delete(f.done, order)
	delete(f.urgent, order)
}

// look looks up what costs a query, until ctx ends; free is Config.DiskFree.
func (f *floor) look(ctx context.Context, journal *provision.Journal, free func() int64) {
	const often = 5 * time.Second
	t := time.NewTicker(often)
	defer t.Stop()
	for {
		n, err := journal.CountPendingReports()
		left := free()
		f.mu.Lock()
		if err == nil {
			f.reports = n
		}
		f.diskFree = left
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Station implements console.Floor.
func (f *floor) Station() console.Station {
	v := f.view()
	s := f.facts
	s.Session, s.Answered, s.Ahead, s.Drain = v.Server.Session, v.Server.Answered, v.Server.Ahead, v.Server.Drain
	s.Modules = slices.Clone(f.facts.Modules)
	for _, m := range v.Modules {
		i := slices.IndexFunc(s.Modules, func(known console.Module) bool { return known.Name == m.Name })
		if i < 0 {
			continue
		}
		s.Modules[i].Looked = m.Looked
		if m.Err != nil {
			s.Modules[i].Fault = m.Err.Error()
		}
	}
	for _, a := range f.alarms() {
		s.Alarms = append(s.Alarms, console.Alarm{Code: a.Code, Since: a.Since, Text: a.Text, Hint: a.Hint})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Reports, s.DiskFree = f.reports, f.diskFree
	return s
}

// Queue implements console.Floor.
func (f *floor) Queue() []console.Job {
	v := f.view()
	f.mu.Lock()
	defer f.mu.Unlock()
	bays := f.place(v)
	var out []console.Job
	for _, j := range v.Jobs {
		job := f.unfinished(j)
		for _, b := range bays {
			if b.Job != nil && b.Job.ID == job.ID {
				job.Bay = b.Name
				if b.Number > 0 {
					job.Bay = strconv.Itoa(b.Number)
				}
			}
		}
		out = append(out, *job)
	}
	return out
}

// unfinished is a job as the page shows it. f.mu is held.
func (f *floor) unfinished(j agent.JobView) *console.Job {
	out := f.job(j.Job)
	out.Running, out.Step, out.Waiting, out.Hint, out.Reason = j.Running, string(j.Step), string(j.Waiting), j.Hint, j.Reason
	t := f.jobs[j.Job.ID]
	if t == nil {
		return out
	}
	out.Percent = percent(j.Job, t.Index)
	if j.Running && t.State == provision.StateRunning && t.Step == j.Step {
		at := pace{t.Token.Model, j.Job.Subject.ProductCode, t.Step}
		out.Began, out.Usually, out.Since = t.began, f.took.usually(at), t.since
		at.step = ""
		out.Whole = f.took.usually(at)
	}
	return out
}

// ended is a job that has come to its end. f.mu is held.
func (f *floor) ended(t *told) *console.Job {
	if t.State == provision.StateFinished {
		return f.finished(t.Job)
	}
	out := f.job(t.Job)
	out.Step, out.Hint, out.Reason = string(t.Step), t.Hint, t.Reason
	return out
}

// finished is a job whose key is done: it is in no step, whichever the journal has as its last.
func (f *floor) finished(j provision.Job) *console.Job {
	out := f.job(j)
	out.Percent = 100
	return out
}

func (f *floor) job(j provision.Job) *console.Job {
	s := j.Subject
	urgent, heard := f.urgent[s.OrderID]
	return &console.Job{
		ID: j.ID, Order: s.OrderID, Unit: s.UnitID, Company: s.Company.Name, Product: s.ProductCode,
		Sequence: s.Sequence, Of: s.Of, Done: len(f.done[s.OrderID]), Due: j.DueAt, Urgent: urgent || !heard && j.Urgent,
	}
}

// bayOf is where a job was last shown since this start; "" where that is not known.
func (f *floor) bayOf(job string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.jobs[job]; t != nil {
		return t.bay
	}
	return ""
}

// percent is how much of a job's work is behind it at a step.
func percent(job provision.Job, index int) int {
	return 100 * provision.Weight(job, index) / cmp.Or(provision.Weight(job, len(provision.Plan(job))), 1)
}
