package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bays are folders with softhsm2.conf and a blank token each; with rules for the shim, also
// those, and what it noted down.
type bays struct {
	dir  string
	each []string
}

func (b *bench) newBays(w work) (_ bays, err error) {
	dir, err := os.MkdirTemp(b.o.memory, "usbkey-bench-")
	if err != nil {
		return bays{}, err
	}
	s := bays{dir: dir}
	for i := range w.tokens {
		bay := filepath.Join(dir, fmt.Sprintf("bay-%02d", i+1))
		s.each = append(s.each, bay)
		conf := fmt.Sprintf("directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", bay)
		err = errors.Join(err, os.MkdirAll(filepath.Join(bay, "tokens"), 0o700), os.WriteFile(filepath.Join(bay, "softhsm2.conf"), []byte(conf), 0o600))
		if w.rules != nil {
			// The generation tells the shim these rules from others.
			rules := "generation 1\n" + strings.Join(w.rules, "\n") + "\n"
			err = errors.Join(err, os.WriteFile(filepath.Join(bay, "rules"), []byte(rules), 0o600))
		}
	}
	if err != nil {
		return bays{}, errors.Join(err, s.remove())
	}
	return s, nil
}

func (s bays) remove() error { return os.RemoveAll(s.dir) }

// module is the path of the module for a kind of work.
func (b *bench) module(w work) string {
	if w.rules == nil {
		return b.o.module
	}
	return b.program("bench-shim.so")
}

func (b *bench) program(name string) string { return filepath.Join(b.o.bin, name) }

// inside adds what the shim noted down of calls that began at since or later, by
// CLOCK_MONOTONIC in nanoseconds, to a run. C_Initialize and C_Finalize are left out: they are
// a process's, not a token's.
func (s bays) inside(r *Run, since int64) error {
	r.Calls = map[string]int{}
	for _, bay := range s.each {
		text, err := os.ReadFile(filepath.Join(bay, "times"))
		if err != nil {
			return err
		}
		if err := addCalls(r, string(text), since); err != nil {
			return fmt.Errorf("%s: %w", bay, err)
		}
	}
	return nil
}

func addCalls(r *Run, text string, since int64) error {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return fmt.Errorf("the shim wrote %q", line)
		}
		begun, err := strconv.ParseInt(f[1], 10, 64)
		took, err2 := strconv.ParseInt(f[2], 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if begun < since || f[0] == "C_Initialize" || f[0] == "C_Finalize" {
			continue
		}
		r.Calls[f[0]]++
		r.Inside += time.Duration(took)
	}
	return nil
}
