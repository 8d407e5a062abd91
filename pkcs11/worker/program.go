package worker

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Program is a program for children, kept open: where the system allows it (Linux) they
// are all of one build, even when the file is replaced meanwhile. Its main enters child
// mode first of all. It must be of the same build as this program.
type Program struct{ file *os.File }

// OpenProgram opens a program for children. It is kept until this process ends.
func OpenProgram(path string) (*Program, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &Program{f}, nil
}

// path is what to execute for a child; this same program when p is nil.
func (p *Program) path() (string, error) {
	if p == nil {
		return program()
	}
	return opened(p.file), nil
}

// sameBuild is an error when a child's program is not of this one's build.
func (p *Program) sameBuild(theirs string) error {
	if ours := build(); p != nil && theirs != ours {
		return &pkcs11.Error{
			Op: opStart, Kind: pkcs11.ErrGeneral,
			Detail: fmt.Sprintf("%s is of version %s and this program of version %s; install both from the same package", p.file.Name(), theirs, ours),
		}
	}
	return nil
}

// build is the version of the module that this program is built from; the toolchain
// puts the commit in.
func build() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
