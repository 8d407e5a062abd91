package worker

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// program is the running image itself, even when its file was replaced since.
func program() (string, error) { return "/proc/self/exe", nil }

// opened is a program's image by its descriptor, which is open until a child executes it.
func opened(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// handOver gives the child its two pipes, and puts it into a process group of its
// own: an interrupt typed at the terminal is the parent's to handle.
func handOver(cmd *exec.Cmd, requests, responses *os.File) error {
	cmd.Stdin, cmd.Stdout = requests, responses
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return nil
}

// pipeArgs is how many arguments tell a child of its pipes: they are its standard ones.
const pipeArgs = 0

// exit ends this process. What libraries left to be done at its end is not done.
func exit(code int) { os.Exit(code) }

// ending tells in words how a child ended.
func ending(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", int(status.Signal()), status.Signal())
	}
	return state.String()
}

// directory is a child's working directory: it keeps none of ours in use.
func directory() (string, error) { return "/", nil }
