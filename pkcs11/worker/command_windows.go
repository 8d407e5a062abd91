package worker

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/windows"
)

func program() (string, error) { return os.Executable() }

// opened is a program by its path.
func opened(f *os.File) string { return f.Name() }

// handOver gives the child its two pipes by their numbers, and null devices as standard
// ones: a C runtime takes hold of the standard handles before anything of ours runs, a
// module may bring a runtime of its own, and what either prints must not get between two
// frames. os/exec lists what a child inherits; nothing else that is open here reaches it.
//
// The child has no console: an interrupt that is typed there, or its closing, is the
// parent's to handle.
func handOver(cmd *exec.Cmd, requests, responses *os.File) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS}
	for _, pipe := range []*os.File{requests, responses} {
		h := pipe.Fd()
		if err := windows.SetHandleInformation(windows.Handle(h), windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT); err != nil {
			return fmt.Errorf("SetHandleInformation: %w", err)
		}
		cmd.Args = append(cmd.Args, strconv.FormatUint(uint64(h), 10))
		cmd.SysProcAttr.AdditionalInheritedHandles = append(cmd.SysProcAttr.AdditionalInheritedHandles, syscall.Handle(h))
	}
	return nil
}

// pipeArgs is how many arguments tell a child of its pipes.
const pipeArgs = 2

// exit ends this process without calling into its libraries once more, as ExitProcess
// would: a module that hangs there, or waits for a thread that is no more, would keep a
// process that nobody watches, and its lock.
func exit(code int) {
	_ = windows.TerminateProcess(windows.CurrentProcess(), uint32(code))
	os.Exit(code) // not reached
}

// ending tells in words how a child ended.
func ending(state *os.ProcessState) string {
	// What ends a process is its exit code, an NTSTATUS of which the two highest bits say error.
	code := uint32(state.ExitCode())
	if code>>30 != 3 {
		return state.String()
	}
	name := "unhandled"
	switch windows.NTStatus(code) {
	case windows.STATUS_ACCESS_VIOLATION:
		name = "access violation"
	case windows.STATUS_ILLEGAL_INSTRUCTION:
		name = "illegal instruction"
	case windows.STATUS_INTEGER_DIVIDE_BY_ZERO:
		name = "division by zero"
	case windows.STATUS_STACK_OVERFLOW:
		name = "stack overflow"
	case windows.STATUS_HEAP_CORRUPTION:
		name = "heap corruption"
	case windows.STATUS_STACK_BUFFER_OVERRUN:
		name = "abort, or a damaged stack"
	}
	return fmt.Sprintf("killed by exception 0x%08x (%s)", code, name)
}

// directory is a child's working directory: Windows looks for libraries there, so it must
// be one that nobody else writes.
func directory() (string, error) { return windows.GetSystemDirectory() }
