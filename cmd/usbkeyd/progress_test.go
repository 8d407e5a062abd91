package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/provision"
)

// states are how the jobs of a test end; one in four waits.
func states() []provision.State {
	return []provision.State{provision.StateFinished, provision.StateFailed, provision.StateQuarantined, provision.StateParked}
}

func observeJobs(p progress, count int) {
	for i := range count {
		job := provision.Progress{Job: provision.Job{ID: fmt.Sprint("job-", i)}, State: provision.StateRunning, Steps: 3}
		p.observe(job)
		job.State, job.Index = states()[i%len(states())], 1
		p.observe(job)
	}
}

// TestProgressForgetsWhatIsDone: a daemon that runs for months keeps no more than
// the jobs that may go on, yet counts them all.
func TestProgressForgetsWhatIsDone(t *testing.T) {
	const jobs, waiting = 40, 10
	var text bytes.Buffer
	lines, ok := newProgress(wording.Words{}, &text, false, false).(*plainLines)
	if !ok {
		t.Fatal("no plain lines where there is no terminal")
	}
	observeJobs(lines, jobs)
	if len(lines.begun) != waiting || lines.known != jobs || lines.done != jobs/4 {
		t.Errorf("plain lines keep %d of %d jobs, %d finished", len(lines.begun), lines.known, lines.done)
	}
	if !strings.Contains(text.String(), "(10 of 37 known)") {
		t.Errorf("the last finished job is not counted:\n%s", text.String())
	}

	for _, drain := range []bool{true, false} {
		b := newBars(wording.Words{}, io.Discard, drain)
		observeJobs(b, jobs)
		if len(b.jobs) != waiting || b.known != jobs || b.done != jobs/4 {
			t.Errorf("bars keep %d of %d jobs, %d finished (drain %t)", len(b.jobs), b.known, b.done, drain)
		}
		b.close()
	}
}
