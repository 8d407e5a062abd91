package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/provision"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows the work: on a terminal one line per token and a total with the
// time left, elsewhere plain lines.
type progress interface {
	observe(provision.Progress)
	close()
}

// newProgress: one that drains comes to an end, and keeps the line of each token on
// the screen; a daemon lets go of those that are done.
func newProgress(words wording.Words, w io.Writer, interactive, drain bool) progress {
	if interactive {
		return newBars(words, w, drain)
	}
	return &plainLines{words: words, w: w, begun: map[string]time.Time{}}
}

// plainLines prints a line when a job begins and when it stops.
type plainLines struct {
	mu    sync.Mutex
	words wording.Words
	w     io.Writer
	begun map[string]time.Time // of the jobs that have not come to their end
	known int
	done  int
}

func (l *plainLines) observe(p provision.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	begun, known := l.begun[p.Job.ID]
	if !known {
		begun = time.Now()
		l.begun[p.Job.ID] = begun
		l.known++
		l.say("%s  begins on %s: %s, key %d of %d", p.Job.UnitID(), p.Token.Module, p.Job.Subject.Company.Name, p.Job.Subject.Sequence, p.Job.Subject.Of)
	}
	switch p.State {
	case provision.StateRunning, provision.StateQueued:
	case provision.StateFinished:
		l.done++
		l.say("%s  finished: token %s, %.1f s (%d of %d known)", p.Job.UnitID(), p.Token.Identity.Serial, time.Since(begun).Seconds(), l.done, l.known)
	default:
		l.say("%s  %s at %s: %s %s", p.Job.UnitID(), l.words.Name("is", string(p.State)), l.words.Name("step", string(p.Step)), l.words.Told(p.Reason), l.words.Told(p.Hint))
	}
	if p.State.Final() {
		delete(l.begun, p.Job.ID)
	}
}

func (l *plainLines) say(format string, args ...any) {
	_, _ = fmt.Fprintln(l.w, l.words.Sprintf(format, args...))
}

func (l *plainLines) close() {}

// bars draws on a terminal.
type bars struct {
	words wording.Words
	mu    sync.Mutex
	box   *mpb.Progress
	total *mpb.Bar
	steps int64
	known int
	done  int
	jobs  map[string]*jobBar // that have not come to their end
}

type jobBar struct {
	words wording.Words
	bar   *mpb.Bar
	now   provision.Progress
	mu    sync.Mutex
	last  int
}

func newBars(words wording.Words, w io.Writer, drain bool) *bars {
	options := []mpb.ContainerOption{mpb.WithOutput(w), mpb.WithWidth(24), mpb.WithAutoRefresh()}
	if !drain {
		options = append(options, mpb.PopCompletedMode()) // they scroll away
	}
	b := &bars{words: words, box: mpb.New(options...), jobs: map[string]*jobBar{}}
	b.total = b.box.New(0, mpb.BarStyle().Rbound("|").Lbound("|"),
		mpb.BarPriority(1<<20), // below all tokens
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return b.count() })),
		mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.Name("  "),
			decor.OnComplete(decor.AverageETA(decor.ET_STYLE_MMSS, decor.WC{W: 6}), ""), decor.OnComplete(decor.Name(words.Say(" left")), "")))
	return b
}

// count is the head of the total line.
func (b *bars) count() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return output.Columns().FillRight(b.words.Sprintf("%d of %d keys", b.done, b.known), 52)
}

// head is the beginning of a token's line; tail its end.
func (j *jobBar) head() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	column := func(s string, width int) string {
		return output.Columns().FillRight(output.Columns().Truncate(s, width-1, "…"), width)
	}
	return column(j.now.Token.Module, 9) + column(j.now.Job.UnitID(), 22) + column(j.now.Job.Subject.Company.Name, 21)
}

func (j *jobBar) tail() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch j.now.State {
	case provision.StateRunning:
		return " " + j.words.Name("step", string(j.now.Step))
	case provision.StateFinished:
		return " ✓ " + string(j.now.Token.Identity.Serial)
	}
	return " ✗ " + j.words.Name("is", string(j.now.State)) + ": " + output.Columns().Truncate(j.words.Told(j.now.Reason), 60, "…")
}

func (b *bars) observe(p provision.Progress) {
	b.mu.Lock()
	j := b.jobs[p.Job.ID]
	if j == nil {
		j = &jobBar{words: b.words, now: p}
		b.jobs[p.Job.ID] = j
		b.known++
		b.steps += int64(provision.Weight(p.Job, p.Steps))
	}
	steps, place := b.steps, b.known
	b.mu.Unlock()
	if j.bar == nil {
		// Not under b.mu: drawing, which New waits for, takes it. A job tells its steps one after another.
		j.bar = b.box.New(int64(provision.Weight(p.Job, p.Steps)), mpb.BarStyle(), mpb.BarPriority(place),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return j.head() })),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return j.tail() })))
	}

	done := provision.Weight(p.Job, p.Index)
	if p.State == provision.StateFinished {
		done = provision.Weight(p.Job, p.Steps)
	}
	j.mu.Lock()
	gained := max(0, done-j.last)
	j.now, j.last = p, max(done, j.last)
	j.mu.Unlock()
	j.bar.SetCurrent(int64(done))
	b.total.SetTotal(steps, false)
	b.total.IncrBy(gained)
	if p.State.Final() {
		b.forget(p)
		j.bar.Abort(false) // one that failed is not full, and stands as it is
	}
}

// forget lets go of a job that has come to its end.
func (b *bars) forget(p provision.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.jobs, p.Job.ID)
	if p.State == provision.StateFinished {
		b.done++
	}
}

func (b *bars) close() {
	b.mu.Lock()
	all := make([]*mpb.Bar, 0, len(b.jobs))
	for _, j := range b.jobs {
		if j.bar != nil {
			all = append(all, j.bar)
		}
	}
	b.mu.Unlock()
	for _, bar := range all {
		bar.Abort(false)
	}
	b.total.SetTotal(-1, true)
	b.box.Wait()
}
