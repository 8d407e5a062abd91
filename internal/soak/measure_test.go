package soak

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// What is measured of a daemon.
const (
	pss         = "memory (PSS)"
	rss         = "memory (RSS)"
	goroutines  = "goroutines"
	descriptors = "descriptors"
	childCount  = "module processes"
	childOwn    = "memory of a module process (own)"
	logSize     = "write-ahead log"
	unused      = "unused in the journal"
	perUnit     = "journal for a unit"
)

// measures are what must not grow, and what of a rise is none. A garbage collector lets a heap
// swing by some MiB; a pulled token costs a process and its pipes for a moment.
func measures() map[string]*slope {
	all := map[string]*slope{}
	for _, s := range []slope{
		{what: pss, unit: "MiB", most: 4}, {what: rss, unit: "MiB", most: 4}, {what: goroutines, most: 6}, {what: descriptors, most: 4},
		{what: childCount, most: 1}, {what: childOwn, unit: "MiB", most: 1},
		{what: logSize, unit: "MiB", most: 2}, {what: unused, unit: "MiB", most: 1}, {what: perUnit, unit: "KiB", most: 8},
	} {
		all[s.what] = &s
	}
	return all
}

// measure reads everything once. What a process shows in /proc of one that lets nobody trace
// it, only root may read.
func (w *world) measure(t testing.TB, at time.Duration, into map[string]*slope) {
	t.Helper()
	pid := w.daemon.PID()
	add := func(what string, value float64) {
		s := into[what]
		s.readings = append(s.readings, reading{at, value})
	}
	memory := func(pid int, field string) (float64, bool) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, false
		}
		kib, ok := number(string(text), field)
		return kib / 1024, ok
	}
	for what, field := range map[string]string{pss: "Pss:", rss: "Rss:"} {
		mib, ok := memory(pid, field)
		if !ok {
			t.Fatalf("the daemon's memory cannot be read; run this as root")
		}
		add(what, mib)
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	add(descriptors, float64(len(open)))
	children := w.children()
	add(childCount, float64(len(children)))
	var of []float64
	for _, child := range children {
		// Until it executes the program it has its parent's memory; or it has ended meanwhile.
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		// What it shares, and with how many, changes with every token that is pulled.
		if mib, ok := memory(child, "Anonymous:"); ok && strings.HasPrefix(string(command), "usbkeyd-token-worker\x00") {
			of = append(of, mib)
		}
	}
	if len(of) > 0 {
		slices.Sort(of)
		add(childOwn, of[len(of)/2])
	}
	if n, ok := w.scrape("go_goroutines"); ok {
		add(goroutines, n)
	}
	if info, err := os.Stat(w.Journal() + "-wal"); err == nil {
		add(logSize, float64(info.Size())/(1<<20))
	}
	page := stationtest.Count(w.Journal(), "PRAGMA page_size")
	add(unused, float64(stationtest.Count(w.Journal(), "PRAGMA freelist_count")*page)/(1<<20))
	if units := w.finished(); units > 0 {
		add(perUnit, float64(stationtest.Count(w.Journal(), "PRAGMA page_count")*page)/1024/float64(units))
	}
}

// number is what stands after a word at the beginning of a line.
func number(text, word string) (float64, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, word); ok {
			fields := strings.Fields(rest)
			if len(fields) == 0 {
				return 0, false
			}
			n, err := strconv.ParseFloat(fields[0], 64)
			return n, err == nil
		}
	}
	return 0, false
}

// scrape asks the daemon's metrics for a number.
func (w *world) scrape(name string) (float64, bool) {
	resp, err := w.client.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", w.port))
	if err != nil {
		return 0, false
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, false
	}
	return number(string(text), name+" ")
}

// children are the process ids of the daemon's children, zombies too.
func (w *world) children() (pids []int) {
	found, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	parent := strconv.Itoa(w.daemon.PID())
	for _, f := range found {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		// proc(5): pid, (name), state, ppid; the name may have anything in it.
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == parent {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// finished counts the station's finished jobs.
func (w *world) finished() int {
	return stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM job WHERE state = 'finished'")
}
