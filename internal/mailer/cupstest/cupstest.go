// Package cupstest runs a real cupsd for tests, in the foreground and with a
// configuration of its own: no port below 1024, a spool in memory, queues with a driver
// whose devices are scripts that behave as a test wants. It must not know what is printed.
package cupstest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/canary"
)

// Server is a running cupsd, which ends with the test.
type Server struct {
	// Socket and Address are where it listens: a path, and a loopback address with its port.
	Socket, Address string
	// Spool is its RequestRoot, on a tmpfs.
	Spool string
	dir   string
	cupsd *exec.Cmd
	t     testing.TB
}

// Drivers of queues.
const (
	// PCL is a page printer's; PDF hands pages on as PDF, so that they can be read again.
	PCL = "drv:///sample.drv/generpcl.ppd"
	PDF = "/usr/share/ppd/cupsfilters/Generic-PDF_Printer-PDF.ppd"
	// Raw is no driver.
	Raw = "raw"
)

// Devices of queues, which CUPS calls backends.
const (
	jam  = "#!/bin/sh\n[ $# -eq 0 ] && exit 0\necho 'ERROR: paper jam' >&2\nhead -c 500 >/dev/null\nexit 1\n"
	hang = "#!/bin/sh\n[ $# -eq 0 ] && exit 0\nexec sleep 60\n"
	// keep writes what it gets to the file in its URI, as a printer does to paper.
	keep = "#!/bin/sh\n[ $# -eq 0 ] && exit 0\nexec cat > \"${DEVICE_URI#keep:}\"\n"
)

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
	s := &Server{Socket: filepath.Join(dir, "sock"), Address: freeAddress(t), Spool: filepath.Join(memory, "spool"), dir: dir, t: t}
	s.lay(memory, history)
	s.run()
	t.Cleanup(s.stop)
	return s
}

// run starts cupsd and waits until it answers.
func (s *Server) run() {
	s.t.Helper()
	etc := filepath.Join(s.dir, "etc")
	s.cupsd = exec.Command("/usr/sbin/cupsd", "-f", "-c", filepath.Join(etc, "cupsd.conf"), "-s", filepath.Join(etc, "cups-files.conf"))
	s.cupsd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	if err := s.cupsd.Start(); err != nil {
		s.t.Fatalf("cupsd: %v (apt-get install cups)", err)
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", s.Socket); err == nil {
			s.must(c.Close())
			return
		}
		if time.Since(begun) > 20*time.Second {
			s.t.Fatalf("cupsd does not answer; its log:\n%s", s.read("error_log"))
		}
	}
}

func (s *Server) stop() {
	_ = s.cupsd.Process.Signal(syscall.SIGTERM)
	_ = s.cupsd.Wait() // it ends by the signal
}

// Restart stops cupsd and starts it again.
func (s *Server) Restart() {
	s.t.Helper()
	s.stop()
	s.run()
}

func (s *Server) read(file string) string {
	data, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// lay lays out what cupsd reads.
func (s *Server) lay(memory string, history bool) {
	s.t.Helper()
	tmp := filepath.Join(s.Spool, "tmp")
	for _, d := range []string{"etc", "etc/ppd", "cache", "state", "out", "bin/backend"} {
		s.must(os.MkdirAll(filepath.Join(s.dir, d), 0o755))
	}
	s.must(os.MkdirAll(tmp, 0o755))
	for _, d := range []string{s.dir, memory, filepath.Join(s.dir, "out")} {
		s.must(os.Chmod(d, 0o777)) // filters and devices run as lp
	}
	for _, d := range []string{"filter", "daemon", "driver", "monitor", "notifier", "cgi-bin"} {
		s.must(os.Symlink("/usr/lib/cups/"+d, filepath.Join(s.dir, "bin", d)))
	}
	for name, script := range map[string]string{"jam": jam, "hang": hang, "keep": keep} {
		s.must(os.WriteFile(filepath.Join(s.dir, "bin/backend", name), []byte(script), 0o755))
	}
	remembers := "No"
	if history {
		remembers = "Yes"
	}
	s.must(os.WriteFile(filepath.Join(s.dir, "etc/cupsd.conf"), fmt.Appendf(nil, `Listen %s
Listen %s
LogLevel warn
DefaultAuthType None
WebInterface No
Browsing Off
ErrorPolicy abort-job
PreserveJobFiles No
PreserveJobHistory %s
<Location />
  Order allow,deny
  Allow from 127.0.0.1
</Location>
<Policy default>
  <Limit All>
    Order allow,deny
    Allow from 127.0.0.1
  </Limit>
</Policy>
`, s.Address, s.Socket, remembers), 0o644))
	s.must(os.WriteFile(filepath.Join(s.dir, "etc/cups-files.conf"), fmt.Appendf(nil, `FileDevice Yes
ServerRoot %[1]s/etc
ServerBin %[1]s/bin
CacheDir %[1]s/cache
StateDir %[1]s/state
RequestRoot %[2]s
TempDir %[3]s
ErrorLog %[1]s/error_log
AccessLog %[1]s/access_log
PageLog %[1]s/page_log
`, s.dir, s.Spool, tmp), 0o644))
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Tool runs one of CUPS's programs on the server.
func (s *Server) Tool(name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "CUPS_SERVER=" + s.Socket}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// queue adds a queue; options are lpadmin's.
func (s *Server) queue(name, device, driver string, options ...string) {
	s.t.Helper()
	args := append([]string{"-p", name, "-E", "-v", device}, options...)
	if filepath.IsAbs(driver) {
		args = append(args, "-P", driver)
	} else {
		args = append(args, "-m", driver)
	}
	s.Tool("lpadmin", args...)
}

// Paper adds a queue whose device keeps what it gets in the file that is returned.
func (s *Server) Paper(name, driver string, options ...string) string {
	file := filepath.Join(s.dir, "out", name)
	s.queue(name, "keep:"+file, driver, options...)
	return file
}

// File adds a queue whose device is a file, written by cupsd itself. It must not be below
// /dev, where CUPS takes a file for a device.
func (s *Server) File(name, driver, file string) { s.queue(name, "file:"+file, driver) }

// Jam adds a queue whose device takes a little and fails.
func (s *Server) Jam(name string, options ...string) { s.queue(name, "jam:x", PCL, options...) }

// Hang adds a queue whose device takes nothing and says nothing, for a minute.
func (s *Server) Hang(name string) { s.queue(name, "hang:x", PCL) }

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
