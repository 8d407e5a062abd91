package cups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Sentinel is a constant error of this package.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// ErrNotSent: nothing was handed to the printer, and printing may be tried again.
const ErrNotSent Sentinel = "nothing was printed"

// ErrStopped: the queue is stopped or takes no jobs, which a person at the printer can put right.
const ErrStopped Sentinel = "it takes no sheets now"

// Printer is a queue of a CUPS on this machine.
type Printer struct {
	// Name is the queue's.
	Name string
	// Server is CUPS's socket (an absolute path), or a loopback address with its port.
	Server string
	// Spool is CUPS's RequestRoot, which must be in memory; "" where no page holds a secret.
	Spool string
	// Media is the paper, as CUPS names it: A4, or Custom.50x30mm.
	Media string
	// Title is what a page is called, before everybody who may look at the queue.
	Title string
	// Patience is how long a job may take before it is cancelled.
	Patience time.Duration
}

// Outcome is what is known of a page that was handed on. It is never that the sheet is there.
type Outcome struct {
	// Job is CUPS's number of the job, 0 when lp named none.
	Job int
	// End classes how it ended, Says tells a person what happened, and what to do.
	End  End
	Says string
}

// End is how it went with a page that was handed on.
type End string

// Ends. None of them is that there is no sheet.
const (
	Completed End = "completed" // CUPS has got rid of the data
	GivenUp   End = "given-up"  // CUPS gave the job up, as after a jam
	Cancelled End = "cancelled" // by somebody
	TooLate   End = "too-late"  // it did not end in time, and was cancelled
	NoPaper   End = "no-paper"  // likewise, and the printer asks for paper
	Lost      End = "lost"      // nothing is known of the job
)

// Local reports whether a server is one on this machine.
func Local(server string) bool {
	if filepath.IsAbs(server) {
		return true
	}
	host, port, err := net.SplitHostPort(server)
	ip := net.ParseIP(host)
	return err == nil && port != "" && ip != nil && ip.IsLoopback()
}

// Ready says why a page cannot be handed to the printer now, as an ErrNotSent, or nil.
func (p Printer) Ready(ctx context.Context) error {
	if err := p.ready(ctx); err != nil {
		return fmt.Errorf("%w: printer %s: %w", ErrNotSent, p.Name, err)
	}
	return nil
}

func (p Printer) ready(ctx context.Context) error {
	if !Local(p.Server) {
		return fmt.Errorf("%s is not on this machine", p.Server)
	}
	if p.Spool != "" {
		if err := inMemory(p.Spool); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("lp"); err != nil {
		return fmt.Errorf("%w (Debian: apt-get install cups-client)", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	q, err := p.queue(ctx)
	if err != nil {
		return err
	}
	return q.fit()
}

// request is how lp names the job: "request id is paper-3 (0 file(s))".
var request = regexp.MustCompile(`request id is \S+-(\d+) `)

// handTime bounds lp, which has nothing to wait for but CUPS.
const handTime = 30 * time.Second

// Print hands a page (PDF) to the printer, once, and watches what becomes of it. It fails
// with ErrNotSent when lp could not even be started; after that there is an Outcome.
// ctx is not asked: a page that is on its way stays on its way.
func (p Printer) Print(ctx context.Context, page []byte) (Outcome, error) {
	ctx = context.WithoutCancel(ctx)
	handing, cancel := context.WithTimeout(ctx, handTime)
	defer cancel()
	cmd := exec.CommandContext(handing, "lp", "-h", p.Server, "-d", p.Name, "-n", "1", "-t", p.Title,
		"-o", "media="+p.Media, "-o", "sides=one-sided", "-o", "number-up=1", "-o", "job-sheets=none,none", "-o", "print-scaling=none")
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"} // no options of a user's own
	cmd.Stdin = bytes.NewReader(page)
	var out, says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &says
	if err := cmd.Start(); err != nil {
		return Outcome{}, fmt.Errorf("%w: printer %s: %w", ErrNotSent, p.Name, err)
	}
	failed := cmd.Wait()
	var o Outcome
	if m := request.FindSubmatch(out.Bytes()); m != nil {
		o.Job, _ = strconv.Atoi(string(m[1]))
	}
	if failed != nil || o.Job == 0 {
		o.End, o.Says = Lost, fmt.Sprintf("lp ended without naming a job (%s). The sheet may come out all the same, or a part of it: look at the printer and destroy what is there.", firstLine(says.String(), failed))
		return o, nil
	}
	o.End, o.Says = p.watch(ctx, o.Job)
	return o, nil
}

func firstLine(text string, otherwise error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line == "" && otherwise != nil {
		line = otherwise.Error()
	}
	if r := []rune(line); len(r) > 200 {
		line = string(r[:200])
	}
	return line
}

// look is how often a job's state is asked for.
const look = 300 * time.Millisecond

// watch follows a job to its end, and says how that was.
func (p Printer) watch(ctx context.Context, job int) (End, string) {
	ctx, cancel := context.WithTimeout(ctx, p.Patience)
	defer cancel()
	var last error
	heard := false // whether CUPS has ever answered
	for {
		j, err := p.job(ctx, job)
		switch {
		case errors.Is(err, errUnknownJob):
			return Lost, fmt.Sprintf("CUPS does not know job %d any more: somebody took it away, or CUPS lost it. The sheet may have come out: look at the printer and destroy what is there.", job)
		case err == nil && j.state.ended():
			return j.says(job)
		}
		if err == nil || ctx.Err() == nil || !heard { // the end of our patience is no fault of CUPS's
			last, heard = err, heard || err == nil
		}
		select {
		case <-ctx.Done():
			return p.giveUp(job, last)
		case <-time.After(look):
		}
	}
}

// giveUp cancels a job that did not end, so that no sheet comes out when nobody waits for it.
func (p Printer) giveUp(job int, last error) (End, string) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	how, why := TooLate, ""
	if last == nil { // it has answered until now
		if q, err := p.queue(ctx); err == nil && q.wantsPaper() {
			how, why = NoPaper, ", which asks for paper,"
		}
	}
	end := "It was cancelled"
	if err := p.cancel(ctx, job); err != nil {
		end = fmt.Sprintf("It could not be cancelled (%v), so it may still come out", err)
	}
	said := "The printer" + why + " did not finish it"
	if last != nil {
		said = fmt.Sprintf("CUPS did not answer (%v)", last)
	}
	return how, fmt.Sprintf("%s within %s (job %d). %s. Look at the printer and destroy what is there.", said, p.Patience, job, end)
}
