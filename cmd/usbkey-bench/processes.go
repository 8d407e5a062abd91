package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// look is how long the daemon's use of the processor is watched at a time.
	look = 250 * time.Millisecond
	// atRest is how much of a processor it uses while it has nothing to do but to look at its
	// tokens, at most; 64 of them take a few hundredths.
	atRest = 0.25
	// ticksPerSecond is the unit of times in /proc/PID/stat (USER_HZ, proc(5)); it is the same
	// on every Linux that Go runs on.
	ticksPerSecond = 100
	// patience is how long a start may take.
	patience = time.Minute
)

// children are the processes of the modules. What is about to become one still has its
// parent's name.
func (d *daemon) children() ([]int, error) {
	// Each thread has its own (proc(5)).
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	if err != nil {
		return nil, err
	}
	var all []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		for _, f := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return nil, err
			}
			command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err == nil && bytes.HasPrefix(command, []byte("usbkeyd-token-worker\x00")) {
				all = append(all, pid)
			}
		}
	}
	return all, nil
}

// processor is what the daemon, its children and those that it has waited for have used.
func (d *daemon) processor() (time.Duration, error) {
	pid := d.cmd.Process.Pid
	sum, err := processClock(pid)
	if err != nil {
		return 0, err
	}
	children, err := d.children()
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		one, err := processClock(child)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) {
			continue // it has ended since, and counts among those that were waited for
		}
		if err != nil {
			return 0, err
		}
		sum += one
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The fields after the program's name in parentheses; cutime and cstime are the 16th and 17th of all.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[13], 10, 64)
	system, err2 := strconv.ParseInt(fields[14], 10, 64)
	return sum + time.Duration(user+system)*time.Second/ticksPerSecond, errors.Join(err1, err2)
}

// processClock is the CPU-time clock of a process with all its threads
// (clock_getcpuclockid(3)); its id is the inverted process id with the type of the clock, 2
// for the scheduler's.
func processClock(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("the clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, which the shim's notes are in.
func monotonic() (int64, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano(), err
}

// ready waits until there is a process for every module and the daemon rests.
func (d *daemon) ready(ctx context.Context, modules int) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		children, err := d.children()
		if err := errors.Join(err, d.alive(ctx)); err != nil {
			return err
		}
		if len(children) >= modules {
			return d.rest(ctx)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d modules have a process; see %s", len(children), modules, d.log)
		}
	}
}

// rest waits until the daemon and its children use next to nothing of the processor.
func (d *daemon) rest(ctx context.Context) error {
	last, err := d.processor()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		time.Sleep(look)
		now, err := d.processor()
		if err := errors.Join(err, d.alive(ctx)); err != nil {
			return err
		}
		if float64(now-last) < atRest*float64(look) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the daemon does not come to rest; see %s", d.log)
		}
		last = now
	}
}

// childMemory is the mean proportional set size of the children, in bytes: a process's own
// pages and its part of those that it shares (proc(5), smaps_rollup).
func (d *daemon) childMemory() (int64, error) {
	children, err := d.children()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, pid := range children {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("process %d ended in the middle of its work", pid)
		}
		if err != nil {
			return 0, err
		}
		kib := int64(0)
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				if kib, err = strconv.ParseInt(strings.Fields(rest)[0], 10, 64); err != nil {
					return 0, err
				}
			}
		}
		if kib == 0 {
			return 0, fmt.Errorf("/proc does not tell the memory of process %d", pid)
		}
		sum += kib << 10
	}
	if len(children) == 0 {
		return 0, errors.New("there is no module's process")
	}
	return sum / int64(len(children)), nil
}
