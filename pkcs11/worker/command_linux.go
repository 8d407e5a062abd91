package worker

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// program is the running image itself, even when its file was replaced since.
func program() (string, error) { return "/proc/self/exe", nil }

// isolate puts the child into a process group of its own: an interrupt typed at
// the terminal is the parent's to handle.
func isolate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// ending tells in words how a child ended.
func ending(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", int(status.Signal()), status.Signal())
	}
	return state.String()
}

// rootDirectory is a child's working directory: it keeps none of ours in use.
const rootDirectory = "/"
