//go:build !windows

package worker_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

const probePath = "/probe"

// probe is a module that reports what it finds around itself. It is asked from
// within, as nobody may look into a child from outside.
type probe struct{ pkcs11.Module }

type surroundings struct {
	Args        []string
	Env         []string
	Dir         string
	Descriptors []string
	CoreLimit   uint64
	Dumpable    int
	Group       bool // leads a process group of its own
}

func (probe) Info(context.Context) (pkcs11.ModuleInfo, error) {
	var s surroundings
	s.Args, s.Env = os.Args, os.Environ()
	s.Dir, _ = os.Getwd()
	for fd := range 64 {
		if target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
			s.Descriptors = append(s.Descriptors, target)
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return pkcs11.ModuleInfo{}, err
	}
	s.CoreLimit = limit.Cur + limit.Max
	var err error
	if s.Dumpable, err = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return pkcs11.ModuleInfo{}, err
	}
	s.Group = syscall.Getpgrp() == os.Getpid()
	report, err := json.Marshal(s)
	return pkcs11.ModuleInfo{Description: string(report)}, err
}

// Slots collects garbage, and finds nothing.
func (probe) Slots(context.Context) ([]pkcs11.Slot, error) {
	collect()
	return nil, nil
}

func (probe) Close() error { return nil }

func TestChildSeesOnlyItsOwn(t *testing.T) {
	t.Setenv("SECRET_OF_THE_PARENT", "hunter2")
	inherited, err := unix.Open("/dev/zero", unix.O_RDONLY, 0) // without close-on-exec, as a careless library would
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)

	p := start(t, worker.Spec{Trust: worker.TrustUnchecked, Path: probePath, Env: map[string]string{"ALLOWED": "yes"}})
	info, err := p.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s surroundings
	if err := json.Unmarshal([]byte(info.Description), &s); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(s.Env); !slices.Equal(s.Env, []string{"ALLOWED=yes", "GOMAXPROCS=1", "GOTRACEBACK=none"}) {
		t.Errorf("environment is %v", s.Env)
	}
	if !slices.Equal(s.Args[1:], []string{probePath, "", "unchecked", "", ""}) {
		t.Errorf("arguments are %v", s.Args)
	}
	if s.Dir != "/" {
		t.Errorf("working directory is %s", s.Dir)
	}
	if s.CoreLimit != 0 || s.Dumpable != 0 || !s.Group {
		t.Errorf("core limit %d, dumpable %d, leads a group %t", s.CoreLimit, s.Dumpable, s.Group)
	}
	pipes, null := 0, 0
	for _, d := range s.Descriptors {
		switch {
		case strings.HasPrefix(d, "pipe:"):
			pipes++
		case d == "/dev/null":
			null++
		case strings.HasPrefix(d, "anon_inode:[event"), strings.HasPrefix(d, "/sys/fs/cgroup/"): // the Go runtime's
		default:
			t.Errorf("a child holds %s", d)
		}
	}
	if pipes != 2 || null != 3 {
		t.Errorf("descriptors are %v, want two pipes and three of /dev/null", s.Descriptors)
	}
}

func TestMalformedEnvironment(t *testing.T) {
	for _, name := range []string{"", "A=B", "A\x00"} {
		if _, err := worker.Start(t.Context(), worker.Spec{Trust: worker.TrustUnchecked, Path: probePath, Env: map[string]string{name: "x"}}); err == nil {
			t.Errorf("a variable of the name %q is accepted", name)
		}
	}
}
