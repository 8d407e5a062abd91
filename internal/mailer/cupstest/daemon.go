package cupstest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Daemon is a running cupsd.
type Daemon struct {
	// Socket and Address are where it listens: a path, and a loopback address with its port.
	Socket, Address string
	// Spool is its RequestRoot, on a tmpfs.
	Spool string
	dir   string
	cupsd *exec.Cmd
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
	// bare has no paper, and says so as printers' own programs do (cups backend(7)).
	bare = "#!/bin/sh\n[ $# -eq 0 ] && exit 0\necho 'STATE: +media-empty-error' >&2\nexec sleep 60\n"
	// keep writes what it gets to the file in its URI, as a printer does to paper.
	keep = "#!/bin/sh\n[ $# -eq 0 ] && exit 0\nexec cat > \"${DEVICE_URI#keep:}\"\n"
)

// Launch starts a cupsd in two empty folders, which are its own from then on: dir, with a
// short name for the socket, and memory, on a tmpfs, for the spool. history says whether
// it remembers jobs that are done with.
func Launch(dir, memory string, history bool) (*Daemon, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	d := &Daemon{Socket: filepath.Join(dir, "sock"), Address: address, Spool: filepath.Join(memory, "spool"), dir: dir}
	if err := d.lay(memory, history); err != nil {
		return nil, err
	}
	return d, d.run()
}

// run starts cupsd and waits until it answers.
func (d *Daemon) run() error {
	etc := filepath.Join(d.dir, "etc")
	d.cupsd = exec.Command("/usr/sbin/cupsd", "-f", "-c", filepath.Join(etc, "cupsd.conf"), "-s", filepath.Join(etc, "cups-files.conf"))
	d.cupsd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	if err := d.cupsd.Start(); err != nil {
		return fmt.Errorf("cupsd: %w (apt-get install cups)", err)
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", d.Socket); err == nil {
			return c.Close()
		}
		if time.Since(begun) > 20*time.Second {
			d.Close()
			return fmt.Errorf("cupsd does not answer; its log:\n%s", d.read("error_log"))
		}
	}
}

// Close ends it. Its folders stay.
func (d *Daemon) Close() {
	_ = d.cupsd.Process.Signal(syscall.SIGTERM)
	_ = d.cupsd.Wait() // it ends by the signal
}

func (d *Daemon) read(file string) string {
	data, err := os.ReadFile(filepath.Join(d.dir, file))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// lay lays out what cupsd reads.
func (d *Daemon) lay(memory string, history bool) error {
	tmp := filepath.Join(d.Spool, "tmp")
	var err error
	must := func(e error) { err = errors.Join(err, e) }
	for _, name := range []string{"etc", "etc/ppd", "cache", "state", "out", "bin/backend"} {
		must(os.MkdirAll(filepath.Join(d.dir, name), 0o755))
	}
	must(os.MkdirAll(tmp, 0o755))
	for _, name := range []string{d.dir, memory, filepath.Join(d.dir, "out")} {
		must(os.Chmod(name, 0o777)) // filters and devices run as lp
	}
	for _, name := range []string{"filter", "daemon", "driver", "monitor", "notifier", "cgi-bin"} {
		must(os.Symlink("/usr/lib/cups/"+name, filepath.Join(d.dir, "bin", name)))
	}
	for name, script := range map[string]string{"jam": jam, "hang": hang, "bare": bare, "keep": keep} {
		must(os.WriteFile(filepath.Join(d.dir, "bin/backend", name), []byte(script), 0o755))
	}
	remembers := "No"
	if history {
		remembers = "Yes"
	}
	must(os.WriteFile(filepath.Join(d.dir, "etc/cupsd.conf"), fmt.Appendf(nil, `Listen %s
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
`, d.Address, d.Socket, remembers), 0o644))
	must(os.WriteFile(filepath.Join(d.dir, "etc/cups-files.conf"), fmt.Appendf(nil, `FileDevice Yes
ServerRoot %[1]s/etc
ServerBin %[1]s/bin
CacheDir %[1]s/cache
StateDir %[1]s/state
RequestRoot %[2]s
TempDir %[3]s
ErrorLog %[1]s/error_log
AccessLog %[1]s/access_log
PageLog %[1]s/page_log
`, d.dir, d.Spool, tmp), 0o644))
	return err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// tool runs one of CUPS's programs on the server.
func (d *Daemon) tool(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "CUPS_SERVER=" + d.Socket}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// queue adds a queue; options are lpadmin's.
func (d *Daemon) queue(name, device, driver string, options ...string) error {
	args := append([]string{"-p", name, "-E", "-v", device}, options...)
	if filepath.IsAbs(driver) {
		args = append(args, "-P", driver)
	} else {
		args = append(args, "-m", driver)
	}
	_, err := d.tool("lpadmin", args...)
	return err
}

// Paper adds a queue whose device keeps what it got last in the file that is returned.
func (d *Daemon) Paper(name, driver string, options ...string) (file string, err error) {
	file = filepath.Join(d.dir, "out", name)
	return file, d.queue(name, "keep:"+file, driver, options...)
}
