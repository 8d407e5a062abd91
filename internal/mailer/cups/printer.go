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

// Printer is a queue of a CUPS on this machine.
type Printer struct {
	// Name is the queue's.
	Name string
	// Server is CUPS's socket (an absolute path), or a loopback address with its port.
	Server string
	// Spool is CUPS's RequestRoot, which must be in memory.
	Spool string
	// Patience is how long a job may take before it is cancelled.
	Patience time.Duration
}

// Outcome is what is known of a page that was handed on. It is never that the sheet is there.
type Outcome struct {
	// Job is CUPS's number of the job, 0 when lp named none.
	Job int
	// Says tells a person what happened, and what to do.
	Says string
}

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
	if err := inMemory(p.Spool); err != nil {
		return err
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
	// The title is shown to everybody who may look at the queue.
	cmd := exec.CommandContext(handing, "lp", "-h", p.Server, "-d", p.Name, "-n", "1", "-t", "letter",
		"-o", "media=A4", "-o", "sides=one-sided", "-o", "number-up=1", "-o", "job-sheets=none,none", "-o", "print-scaling=none")
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
		o.Says = fmt.Sprintf("lp ended without naming a job (%s). The sheet may come out all the same, or a part of it: look at the printer and destroy what is there.", firstLine(says.String(), failed))
		return o, nil
	}
	o.Says = p.watch(ctx, o.Job)
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
func (p Printer) watch(ctx context.Context, job int) string {
	ctx, cancel := context.WithTimeout(ctx, p.Patience)
	defer cancel()
	var last error
	heard := false // whether CUPS has ever answered
	for {
		j, err := p.job(ctx, job)
		switch {
		case errors.Is(err, errUnknownJob):
			return fmt.Sprintf("CUPS does not know job %d any more: somebody took it away, or CUPS lost it. The sheet may have come out: look at the printer and destroy what is there.", job)
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
func (p Printer) giveUp(job int, last error) string {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	end := "It was cancelled"
	if err := p.cancel(ctx, job); err != nil {
		end = fmt.Sprintf("It could not be cancelled (%v), so it may still come out", err)
	}
	said := "The printer did not finish it"
	if last != nil {
		said = fmt.Sprintf("CUPS did not answer (%v)", last)
	}
	return fmt.Sprintf("%s within %s (job %d). %s. Look at the printer and destroy what is there.", said, p.Patience, job, end)
}
