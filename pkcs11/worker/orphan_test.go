//go:build !windows

package worker_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

const parentName = "parent-to-be-killed"

// actAsParent makes this process, when started by that name, a parent that is
// killed while its child is in the middle of a call: it prints the child's id
// and then waits for the call.
func actAsParent() {
	if os.Args[0] != parentName {
		return
	}
	env := map[string]string{}
	for _, pair := range os.Args[2:] {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	p, err := worker.Start(context.Background(), worker.Spec{
		Trust: worker.TrustOwner, Path: os.Args[1], Env: env, Lock: lockOf(os.Args[1]), Deadlines: worker.Deadlines{Call: orphanLimit},
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	_, err = p.Info(context.Background())
	fmt.Println(err)
	os.Exit(1)
}

// orphanLimit is the time that a call has in these tests.
const orphanLimit = 800 * time.Millisecond

// lockOf is the lock of the instance whose module is at path.
func lockOf(path string) string { return path + ".lock" }

// TestOrphanBringsItsCallToAnEnd: a call that is under way when the parent is
// killed ends by itself, or has the time that the parent would have given it. A
// new pool of the same instance waits for that.
func TestOrphanBringsItsCallToAnEnd(t *testing.T) {
	rows := []struct {
		name, rule string
		least      time.Duration
	}{
		{"a call that ends", "C_GetInfo wait 300", 150 * time.Millisecond},
		{"a call that never ends", "C_GetInfo hang", orphanLimit / 2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
			shim.Rules(t, row.rule)
			parent, child := startParent(t, shim)
			shim.AwaitCall(t, "C_GetInfo")
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = parent.Wait() // killed, as it should be
			begun := time.Now()

			shim.Rules(t) // the next child finds a module that behaves
			pool := worker.NewPool(worker.Spec{Trust: worker.TrustOwner, Path: shim.Path, Env: shim.Env, Lock: lockOf(shim.Path), Deadlines: worker.Deadlines{Call: orphanLimit}})
			defer func() { _ = pool.Close() }()
			next, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took < row.least {
				t.Errorf("the next child came after %s, while the last one was still at work", took)
			}
			if !ended(t, child, 0) {
				t.Error("the orphan lives beside the next child")
			}
			if err := pool.Release(next); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestIdleChildEndsWithItsParent: between calls there is nothing to wait for.
func TestIdleChildEndsWithItsParent(t *testing.T) {
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	parent, child := startParent(t, shim)
	shim.AwaitCall(t, "C_GetInfo")
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed, as it should be
	if !ended(t, child, 10*time.Second) {
		t.Error("the child outlives its parent")
	}
}

// startParent starts a parent, and gives it and a descriptor of its child.
func startParent(t *testing.T, shim pkcs11test.Shim) (parent *exec.Cmd, child int) {
	t.Helper()
	args := []string{parentName, shim.Path}
	for name, value := range shim.Env {
		args = append(args, name+"="+value)
	}
	parent = &exec.Cmd{Path: "/proc/self/exe", Args: args}
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent says %q", line)
	}
	if child, err = unix.PidfdOpen(pid, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(child) })
	return parent, child
}

// ended reports whether a process ends within bound.
func ended(t *testing.T, process int, bound time.Duration) bool {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(bound.Milliseconds()))
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}
