package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/pkcs11"
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

// TestProgressInChinese: where no terminal is, each line is in the reader's language.
func TestProgressInChinese(t *testing.T) {
	p := provision.Progress{Token: provision.TokenRef{Module: "bay-01", Identity: pkcs11.Identity{Serial: "A1"}}, State: provision.StateRunning, Steps: 3}
	p.Job.ID, p.Job.Subject.UnitID, p.Job.Subject.Sequence, p.Job.Subject.Of = "job", "SAMPLE-001", 1, 3
	p.Job.Subject.Company.Name = "示例客车配件有限公司"
	var text bytes.Buffer
	lines := newProgress(chinese(), &text, false, false)
	lines.observe(p)
	p.State, p.Step, p.Reason, p.Hint = provision.StateFailed, provision.StepCheckBlank, "the token is not blank", "Put the token back."
	lines.observe(p)
	p.Job.ID, p.State, p.Reason, p.Hint = "job-2", provision.StateFinished, "", ""
	lines.observe(p)
	want := []string{
		"SAMPLE-001  开始，槽位 bay-01：示例客车配件有限公司，第 1 把 / 共 3 把",
		"SAMPLE-001  失败，令牌未写入，步骤“检查是否空白”：令牌不是空白的 请把令牌插回。",
		"SAMPLE-001  开始，槽位 bay-01：示例客车配件有限公司，第 1 把 / 共 3 把",
		"SAMPLE-001  完成：令牌 A1，0.0 秒（已知 2 把中的第 1 把）",
	}
	if got := strings.TrimSpace(text.String()); got != strings.Join(want, "\n") {
		t.Errorf("the lines are\n%s, want\n%s", got, strings.Join(want, "\n"))
	}
}
