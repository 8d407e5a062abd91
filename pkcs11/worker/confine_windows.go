package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

// confine shuts the child in before anything of the module is in it, and gives
// the pipe that requests come from and the one that responses go to; those also
// with an error, when it came that far.
func confine() (in, out *os.File, err error) {
	if in, err = inherited(argCount, "requests"); err != nil {
		return nil, nil, err
	}
	if out, err = inherited(argCount+1, "responses"); err != nil {
		return nil, nil, err
	}
	return in, out, errors.Join(enterJob(), keepNoDump(), searchNowhereElse(filepath.Dir(os.Args[argPath])))
}

// inherited is the pipe of which an argument tells the number. No process that the
// module starts gets it.
func inherited(arg int, name string) (*os.File, error) {
	h, err := strconv.ParseUint(os.Args[arg], 10, strconv.IntSize)
	if err != nil {
		return nil, fmt.Errorf("the %s pipe: %w", name, err)
	}
	if err := windows.SetHandleInformation(windows.Handle(h), windows.HANDLE_FLAG_INHERIT, 0); err != nil {
		return nil, fmt.Errorf("the %s pipe: %w", name, err)
	}
	return os.NewFile(uintptr(h), name), nil
}

// enterJob puts this process alone into a job. Nothing can leave a job, and this one has
// room for one process: what a module starts does not come to life, so that there is
// nothing to outlive the child. The job does not end with its last handle, which is
// closed here: a call that is under way when the parent dies has its time, and nothing
// that is loaded later finds a handle by which to loosen the limits.
func enterJob() error {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return fmt.Errorf("CreateJobObject: %w", err)
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{
			LimitFlags:         windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS | windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
			ActiveProcessLimit: 1,
		},
	}
	_, setErr := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	return errors.Join(setErr, windows.AssignProcessToJobObject(job, windows.CurrentProcess()), windows.CloseHandle(job))
}

// keepNoDump has a fault end the process without a dialog, which would hang it, and
// without a report: memory holds PINs.
func keepNoDump() error {
	windows.SetErrorMode(windows.SEM_FAILCRITICALERRORS | windows.SEM_NOGPFAULTERRORBOX | windows.SEM_NOOPENFILEERRORBOX)
	// Some faults reach Windows Error Reporting all the same (werapi.h).
	const noHeap, noUI = 0x1, 0x20
	result, _, _ := windows.NewLazySystemDLL("kernel32.dll").NewProc("WerSetFlags").Call(noHeap | noUI)
	if int32(result) < 0 { // an HRESULT
		return fmt.Errorf("WerSetFlags: 0x%08x", uint32(result))
	}
	return nil
}

// searchNowhereElse has the libraries that a module needs looked for in the module's own
// folder, which is checked as the module is, and in the system's.
func searchNowhereElse(folder string) error {
	if err := windows.SetDefaultDllDirectories(windows.LOAD_LIBRARY_SEARCH_SYSTEM32 | windows.LOAD_LIBRARY_SEARCH_USER_DIRS); err != nil {
		return fmt.Errorf("SetDefaultDllDirectories: %w", err)
	}
	path, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return err
	}
	_, _ = windows.AddDllDirectory(path) // fails when there is no such folder; checkModule says that better
	return nil
}
