package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// floor makes each token in a process that makes only the calls that it must.
func (b *bench) floor(ctx context.Context, w work) (Run, error) {
	return b.each(ctx, w, b.program("bench-floor"), b.module(w), w.algorithm, b.ca.leafDER, b.ca.chainDER)
}

// shell makes each token with command-line tools.
func (b *bench) shell(ctx context.Context, w work) (Run, error) {
	return b.each(ctx, w, "scripts/bench.d/shell-token", b.module(w), w.algorithm, b.ca.chainPEM, b.ca.key, b.ca.chainDER)
}

// each runs a program for each bay, some at a time, and takes what the system says that they
// and whatever they started have used of the processor. The last argument is the bay.
func (b *bench) each(ctx context.Context, w work, program string, args ...string) (r Run, err error) {
	s, err := b.newBays(w)
	if err != nil {
		return Run{}, err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "xargs", append([]string{"-P", strconv.Itoa(w.atOnce), "-n", "1", program}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(strings.Join(s.each, "\n")+"\n"), &said, &said
	begun := time.Now()
	if err := cmd.Run(); err != nil { // the bays stay, to look at
		return Run{}, fmt.Errorf("%s: %w\n%s", program, err, said.String())
	}
	r = Run{Tokens: w.tokens, Wall: time.Since(begun), CPU: used(cmd.ProcessState)}
	r.WholeCPU = r.CPU
	if w.rules != nil {
		if err := s.inside(&r, 0); err != nil {
			return Run{}, err
		}
	}
	return r, s.remove()
}

// used is the processor time of a process that has ended and of all below it that were
// waited for (getrusage(2)).
func used(p *os.ProcessState) time.Duration {
	u, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
