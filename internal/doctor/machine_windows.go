package doctor

import (
	"golang.org/x/sys/windows"
)

// Folder has nothing to say on Windows, where folders have no modes.
func Folder(dir string) Finding {
	return Finding{Check: "state folder", State: Note, Code: "not-checked", Found: dir, Mend: "See by yourself that only the service's account may read it."}
}

// free is how much the user can still write beside a path, in bytes.
func free(path string) (n uint64, err error) {
	p, err := windows.UTF16PtrFromString(path)
	if err == nil {
		err = windows.GetDiskFreeSpaceEx(p, &n, nil, nil)
	}
	return n, err
}

// CoreDumps has nothing to look at on Windows, where Error Reporting is what keeps memory.
func CoreDumps() Finding {
	return Finding{Check: "core dumps", State: Note, Code: "not-checked", Found: "Windows has none", Mend: "Turn Windows Error Reporting off for usbkeyd.exe."}
}
