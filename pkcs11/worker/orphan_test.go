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
	p, err := worker.Start(context.Background(), worker.Spec{Path: os.Args[1], Env: env})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	_, err = p.Info(context.Background())
	fmt.Println(err)
	os.Exit(1)
}

func TestChildEndsWithItsParent(t *testing.T) {
	shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
	shim.Rules(t, "C_GetInfo hang")
	args := []string{parentName, shim.Path}
	for name, value := range shim.Env {
		args = append(args, name+"="+value)
	}
	parent := &exec.Cmd{Path: "/proc/self/exe", Args: args}
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
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)

	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed, as it should be
	ended := []unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}
	const bound = 10 * time.Second
	if n, err := unix.Poll(ended, int(bound.Milliseconds())); err != nil || n != 1 {
		t.Errorf("child %d outlives its parent by %s: %v", pid, bound, err)
	}
}
