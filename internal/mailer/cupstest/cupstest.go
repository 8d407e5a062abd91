// Package cupstest runs a real cupsd for tests, in the foreground and with a
// configuration of its own: no port below 1024, a spool in memory, queues with a driver
// whose devices are scripts that behave as a test wants. It must not know what is printed.
package cupstest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/canary"
)

// Server is a running cupsd, which ends with the test.
type Server struct {
	*Daemon
	t testing.TB
}

// Start starts a cupsd whose spool is a new folder in memory. history says whether it
// remembers jobs that are done with.
func Start(t testing.TB, history bool) *Server {
	t.Helper()
	memory, err := os.MkdirTemp("/dev/shm", "cupstest-")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "cupstest-") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range []string{memory, dir} {
			if err := os.RemoveAll(d); err != nil {
				t.Error(err)
			}
		}
	})
	d, err := Launch(dir, memory, history)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Daemon: d, t: t}
	t.Cleanup(s.Close)
	return s
}

// Restart stops cupsd and starts it again.
func (s *Server) Restart() {
	s.t.Helper()
	s.Close()
	s.must(s.run())
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Tool runs one of CUPS's programs on the server.
func (s *Server) Tool(name string, args ...string) string {
	s.t.Helper()
	out, err := s.tool(name, args...)
	s.must(err)
	return out
}

// Paper adds a queue whose device keeps what it gets in the file that is returned.
func (s *Server) Paper(name, driver string, options ...string) string {
	s.t.Helper()
	file, err := s.Daemon.Paper(name, driver, options...)
	s.must(err)
	return file
}

// Label makes a queue of a label printer, which takes paper of any size to its edges, and
// tells the file of its last sheet.
func (s *Server) Label(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(PDF)
	s.must(err)
	driver := filepath.Join(s.dir, name+".ppd")
	s.must(os.WriteFile(driver, append(text, anySize...), 0o644)) // #nosec G306 -- cupsd reads it
	return s.Paper(name, driver)
}

// anySize is what a driver says that takes paper of any size (Adobe PPD 4.3, "Custom Page Sizes").
const anySize = `
*VariablePaperSize: True
*MaxMediaWidth: "1000"
*MaxMediaHeight: "1000"
*HWMargins: 0 0 0 0
*CustomPageSize True: "pop pop pop <</PageSize[5 -2 roll]/ImagingBBox null>>setpagedevice"
*ParamCustomPageSize Width: 1 points 36 1000
*ParamCustomPageSize Height: 2 points 36 1000
*ParamCustomPageSize WidthOffset: 3 points 0 0
*ParamCustomPageSize HeightOffset: 4 points 0 0
*ParamCustomPageSize Orientation: 5 int 0 0
`

// File adds a queue whose device is a file, written by cupsd itself. It must not be below
// /dev, where CUPS takes a file for a device.
func (s *Server) File(name, driver, file string) {
	s.t.Helper()
	s.must(s.queue(name, "file:"+file, driver))
}

// Jam adds a queue whose device takes a little and fails.
func (s *Server) Jam(name string, options ...string) {
	s.t.Helper()
	s.must(s.queue(name, "jam:x", PCL, options...))
}

// Hang adds a queue whose device takes nothing and says nothing, for a minute.
func (s *Server) Hang(name string) {
	s.t.Helper()
	s.must(s.queue(name, "hang:x", PCL))
}

// Bare adds a queue whose device asks for paper and takes nothing, for a minute.
func (s *Server) Bare(name string) {
	s.t.Helper()
	s.must(s.queue(name, "bare:x", PCL))
}

// Documents are the files in the spool that hold what is to be printed, Working those that
// filters keep beside them. What else is there are records of jobs: number, times, options.
func (s *Server) Documents() []string { return s.files("d*-*") }

// Working are the files that filters keep while they work.
func (s *Server) Working() []string { return s.files("tmp/*") }

func (s *Server) files(pattern string) []string {
	s.t.Helper()
	out, err := filepath.Glob(filepath.Join(s.Spool, pattern))
	s.must(err)
	return out
}

// Dir is the server's folder, which its processes show in their arguments or environment.
func (s *Server) Dir() string { return s.dir }

// Search looks through every file of the server's, but for what was printed.
func (s *Server) Search(search *canary.Search) {
	s.t.Helper()
	s.must(search.Folder(s.dir, filepath.Join(s.dir, "out")))
	s.must(search.Folder(filepath.Dir(s.Spool)))
}
