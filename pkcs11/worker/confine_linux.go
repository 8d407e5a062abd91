package worker

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine shuts the child in before anything of the module is in it, and gives
// the pipe that requests come from and the one that responses go to; those also
// with an error, when it came that far.
func confine() (in, out *os.File, err error) {
	if err := closeInherited(); err != nil {
		return nil, nil, err
	}
	if in, out, err = movePipes(); err != nil {
		return nil, nil, err
	}
	// Process lists would say "exe". It comes before PR_SET_DUMPABLE, which gives
	// the file to root.
	const comm = "usbkeyd-worker"
	if err := os.WriteFile("/proc/self/comm", []byte(comm), 0); err != nil {
		return in, out, err
	}
	// Memory holds PINs: no core dump, no tracing, no /proc/PID/mem.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return in, out, fmt.Errorf("RLIMIT_CORE: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return in, out, fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	// The parent decides when a child ends. A signal sent to the whole group or
	// control group must not cut off a write to a token.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	return in, out, dieByFaults()
}

// movePipes takes the pipes from the standard descriptors, and leaves there what
// a module that prints may print to: it must neither break the framing nor be
// read by anyone.
func movePipes() (in, out *os.File, err error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("/dev/null: %w", err)
	}
	requests, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, firstPrivate)
	if err != nil {
		return nil, nil, fmt.Errorf("move the request pipe: %w", err)
	}
	responses, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, firstPrivate)
	if err != nil {
		return nil, nil, fmt.Errorf("move the response pipe: %w", err)
	}
	for fd := range firstPrivate {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return nil, nil, fmt.Errorf("/dev/null: %w", err)
		}
	}
	if err := unix.Close(null); err != nil {
		return nil, nil, fmt.Errorf("/dev/null: %w", err)
	}
	return os.NewFile(uintptr(requests), "requests"), os.NewFile(uintptr(responses), "responses"), nil
}

// firstPrivate is the first descriptor after the standard three.
const firstPrivate = 3

// closeInherited closes every descriptor after the standard three that came
// through exec: those without close-on-exec. The runtime's own have it.
func closeInherited() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd < firstPrivate {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// dieByFaults gives the signals of a crash their default action back. The Go
// runtime would print a traceback and exit with status 2, and the parent could
// not tell a segmentation fault from an abort.
func dieByFaults() error {
	// A struct sigaction of zeros is SIG_DFL whatever its layout (sigaction(2)).
	var action [64]byte
	const sigsetSize = 8
	for _, s := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGABRT} {
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action[0])), 0, sigsetSize, 0, 0) // #nosec G103 -- the call wants an address
		if errno != 0 {
			return fmt.Errorf("rt_sigaction: %w", errno)
		}
	}
	return nil
}
