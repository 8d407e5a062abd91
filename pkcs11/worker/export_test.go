package worker

import "os"

// HelloOfAnotherBuild is what a child says whose program was installed by itself.
func HelloOfAnotherBuild() error {
	e := newFrame(64)
	e.string(protocol)
	e.string("v0.0.1")
	e.uint(statusOK)
	return writeFrame(os.Stdout, e)
}
